"""Publishes events to JetStream in group commits: many callers, one atomic batch, one fsync.

A batch goes by the server's protocol: `Nats-Batch-Id`, `Nats-Batch-Sequence`, on the last member
`Nats-Batch-Commit: 1`; the first and the last are requests, the rest is only sent. The server
stores all of it or nothing. Repeated `Nats-Msg-Id`s and other refusals of a whole batch are told
apart by publishing its members singly, with the same ids.

What the caller may rely on: an `Ack` means that the stream has the event on disk. `Unavailable`
means that nobody knows; publishing again with the same `Nats-Msg-Id` is safe. Times are seconds.
"""

import asyncio
import itertools
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from gateway.batch import Gatherer, Waiting
from gateway.metrics import Metrics
from gateway.recent import Recent
from schema import event
from schema.errors import HooklineError, Overload, TooLarge, Unavailable

BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"
MOST_IN_BATCH: Final = 1_000  # the server's limit

# A batch costs the server five fsyncs and a directory, whatever its size; below this many members
# it is slower than single publications. A second one under way makes both slower (measured).
_LEAST_IN_BATCH: Final = 9
_BATCHES: Final = 1
_BATCH_BYTES: Final = 4 * 1024 * 1024
_MOST_WAITING: Final = 20_000
_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
_TRIES: Final = 2
_LOOK_S: Final = 0.1  # how often a wait looks whether the connection still stands
_HEADERS_BYTES: Final = 256  # what the batch protocol and the frame add to a message's headers
_FULL_RETRY_S: Final = 5.0
_THROTTLED: Final = 429
_SHORT_OF: Final = 503
_PART: Final = "NATS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Where an event lies on the stream; `duplicate` if it was there under its id already."""

    sequence: int
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the stream did not take it, in the server's words."""

    status: int
    detail: str


@dataclass(eq=False, slots=True, kw_only=True)
class _Event:
    subject: str
    headers: Mapping[str, str]
    body: bytes
    doubtful: bool = False  # sent before, without an answer: it may be on the stream

    @property
    def unmistakable(self) -> bool:
        """Tell whether nobody else could have published under its id."""
        given = self.headers.get(event.DEDUPE_ID)
        return given is None or given == self.headers.get(event.MESSAGE_ID)


_Member = Waiting[_Event, Ack]


class Publisher:
    """The gateway's way to the stream. An async context; the connection is not its own."""

    def __init__(
        self,
        bus: Client,
        *,
        stream: str = event.STREAM,
        ack_timeout_s: float = 5.0,
        recent: Recent | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        """Take the connection.

        Args:
            bus: Reconnects by itself.
            stream: Its name, to look up what lies under a repeated id.
            ack_timeout_s: How long each of two tries waits for an answer.
            recent: What this gateway accepted lately; kept here for those who read.
            metrics: What the gateway counts.
        """
        self.recent = Recent() if recent is None else recent
        self.metrics = Metrics() if metrics is None else metrics
        self._bus = bus
        self._stream = stream
        self._ack_timeout_s = ack_timeout_s
        self._inbox = f"{bus.new_inbox()}."
        self._name = secrets.token_hex(6)
        self._numbers = itertools.count(1)
        # By token: who waits, and whether only a refusal is of interest.
        self._asked: dict[str, tuple[asyncio.Future[Msg], bool]] = {}
        self._gatherer = Gatherer[_Event, Ack](
            self._carry,
            lanes=_BATCHES,
            most=MOST_IN_BATCH,
            most_size=_BATCH_BYTES,
            most_waiting=_MOST_WAITING,
            most_waiting_size=_MOST_WAITING_BYTES,
        )

    async def __aenter__(self) -> Self:
        self._answers = await self._bus.subscribe(f"{self._inbox}*", cb=self._on_answer)
        await self._gatherer.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Publish what waits, then end."""
        await self._gatherer.__aexit__(kind, error, trace)
        if not self._bus.is_closed:
            await self._answers.unsubscribe()

    async def publish(self, subject: str, headers: Mapping[str, str], body: bytes) -> Ack:
        """Publish an event and wait until the stream has it on disk.

        Raises:
            TooLarge: The server takes no message of this size.
            Overload: The stream is full or too busy, or too much waits here.
            Unavailable: No answer, twice. The event may be on the stream all the same.
        """
        size = len(body) + _HEADERS_BYTES + sum(len(k) + len(v) + 4 for k, v in headers.items())
        if size > self._bus.max_payload:
            raise TooLarge(self._bus.max_payload - size + len(body))
        return await self._gatherer.submit(
            _Event(subject=subject, headers=headers, body=body), size
        )

    async def _carry(self, batch: Sequence[_Member]) -> None:
        started = asyncio.get_running_loop().time()
        if len(batch) < _LEAST_IN_BATCH or not await self._commit(batch):
            async with asyncio.TaskGroup() as group:
                for member in batch:
                    group.create_task(self._publish_one(member))
        seconds = asyncio.get_running_loop().time() - started
        self.metrics.published(batch=len(batch), seconds=seconds)

    async def _commit(self, batch: Sequence[_Member]) -> bool:
        """Publish a batch whole; False if its members must go singly."""
        for _ in range(_TRIES):
            answer = await self._ask(batch)
            if isinstance(answer, Ack):
                first = answer.sequence - len(batch) + 1
                for place, member in enumerate(batch):
                    member.resolve(Ack(sequence=first + place))
                return True
            if answer is not None:
                error = _error_of(answer)
                if isinstance(error, Overload):
                    raise error
                return False
            for member in batch:
                member.item.doubtful = True
        raise Unavailable(_PART)

    async def _publish_one(self, member: _Member) -> None:
        try:
            member.resolve(await self._settled(member))
        except HooklineError as error:
            member.fail(error)

    async def _settled(self, member: _Member) -> Ack:
        for _ in range(_TRIES):
            answer = await self._ask([member])
            if isinstance(answer, Refusal):
                raise _error_of(answer)
            if answer is not None:
                own = answer.duplicate and await self._is_own(member.item, answer.sequence)
                return Ack(sequence=answer.sequence, duplicate=answer.duplicate and not own)
            member.item.doubtful = True
        raise Unavailable(_PART)

    async def _is_own(self, item: _Event, sequence: int) -> bool:
        """Tell whether what lies under a repeated id is this event, from a try without answer."""
        if item.unmistakable or not item.doubtful:
            return item.unmistakable
        asked = orjson.dumps({"seq": sequence})
        try:
            found = await self._bus.request(
                f"$JS.API.DIRECT.GET.{self._stream}", asked, timeout=self._ack_timeout_s
            )
        except nats.errors.Error as error:
            raise Unavailable(_PART) from error
        stored = (found.headers or {}).get(event.MESSAGE_ID)
        return stored is not None and stored == item.headers.get(event.MESSAGE_ID)

    async def _ask(self, batch: Sequence[_Member]) -> Ack | Refusal | None:
        """Send members and wait for the answer to the last; None if there was none.

        Raises:
            Unavailable: They could not even be sent, or no stream took them, within the time.
        """
        deadline = asyncio.get_running_loop().time() + self._ack_timeout_s
        while await self._connected(deadline):
            answer = await self._ask_once(batch, deadline)
            if answer is None or not _has_status(answer):
                return None if answer is None else _read(answer)
            # Nobody listens: JetStream is not up yet. Nothing was stored.
            await asyncio.sleep(_LOOK_S)
        raise Unavailable(_PART)

    async def _ask_once(self, batch: Sequence[_Member], deadline: float) -> Msg | None:
        future: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        tokens = [self._expect(future, only_refusal=False)]
        if len(batch) > 1:
            tokens.append(self._expect(future, only_refusal=True))
        reconnects = self._bus.stats["reconnects"]
        try:
            await self._send(batch, last=tokens[0], first=tokens[-1])
            while not future.done():
                left_s = deadline - asyncio.get_running_loop().time()
                if left_s <= 0 or self._is_lost(reconnects):
                    return None
                await asyncio.wait((future,), timeout=min(_LOOK_S, left_s))
            return future.result()
        except (nats.errors.Error, OSError):
            return None
        finally:
            for token in tokens:
                self._asked.pop(token, None)

    def _expect(self, future: "asyncio.Future[Msg]", *, only_refusal: bool) -> str:
        token = str(next(self._numbers))
        self._asked[token] = (future, only_refusal)
        return token

    def _is_lost(self, reconnects: int) -> bool:
        """Tell whether the connection that a request went out on is no more: so is its answer."""
        return not self._bus.is_connected or self._bus.stats["reconnects"] != reconnects

    async def _connected(self, deadline: float) -> bool:
        while not self._bus.is_closed and asyncio.get_running_loop().time() < deadline:
            if self._bus.is_connected:
                return True
            await asyncio.sleep(_LOOK_S / 2)
        return False

    async def _send(self, batch: Sequence[_Member], *, first: str, last: str) -> None:
        end = len(batch)
        if end == 1:
            only = batch[0].item
            await self._bus.publish(only.subject, only.body, self._inbox + last, {**only.headers})
            return
        batch_id = f"{self._name}-{last}"
        for place, member in enumerate(batch, 1):
            headers = {**member.item.headers, BATCH_ID: batch_id, BATCH_SEQUENCE: str(place)}
            reply = ""
            if place == 1:
                reply = self._inbox + first
            elif place == end:
                headers[BATCH_COMMIT] = "1"
                reply = self._inbox + last
            await self._bus.publish(member.item.subject, member.item.body, reply, headers)

    async def _on_answer(self, message: Msg) -> None:
        token = message.subject[len(self._inbox) :]
        future, only_refusal = self._asked.get(token, (None, False))
        if future is None or future.done():
            return
        if only_refusal and not message.data and not message.headers:
            return  # the first member of a batch was taken; what counts is the last
        future.set_result(message)


def _has_status(message: Msg) -> bool:
    return message.headers is not None and "Status" in message.headers


def _read(message: Msg) -> Ack | Refusal:
    said = orjson.loads(message.data)
    fault = said.get("error")
    if fault is not None:
        return Refusal(status=fault.get("code", 0), detail=fault.get("description", ""))
    return Ack(sequence=said["seq"], duplicate=said.get("duplicate", False))


def _error_of(refusal: Refusal) -> HooklineError:
    if refusal.status in {_THROTTLED, _SHORT_OF}:
        return Overload(f"the stream takes no more: {refusal.detail}", _FULL_RETRY_S)
    return Unavailable(_PART)
