"""Publishes events to JetStream: a few at once and singly, many in group commits.

A group is an atomic batch: many callers, one write, one fsync. It goes by the server's protocol:
`Nats-Batch-Id`, `Nats-Batch-Sequence`, on the last member `Nats-Batch-Commit: 1`; the first and the
last are requests, the rest is only sent. The server stores all of it or nothing. Repeated
`Nats-Msg-Id`s and other refusals of a whole batch are told apart by publishing its members singly,
with the same ids.

What the caller may rely on: an `Ack` means that the stream has the event on disk. `Uncertain` means
that nobody knows; publishing again with the same `Nats-Msg-Id` is safe. After any other error the
stream does not have it. Times are seconds.
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from gateway import wire
from gateway.ack import PART, Ack, Refusal, Uncertain, error_of, has_status, read
from gateway.batch import Gatherer, Waiting
from gateway.costs import Costs
from gateway.metrics import Metrics
from gateway.recent import Recent
from gateway.wire import Outgoing
from schema import event
from schema.errors import HooklineError, Overload, TooLarge, Unavailable

MOST_IN_BATCH: Final = 250  # of 1,000 that the server takes; it takes nothing else meanwhile

_BATCHES: Final = 2
_LEAST_BESIDE: Final = 48  # a batch beside another makes both slower, so only for so many
_PARCEL: Final = 50  # events of a request that go together; others' have room beside them
_BATCH_BYTES: Final = 4 * 1024 * 1024
_MOST_WAITING: Final = 20_000
_MOST_WAITING_BYTES: Final = 64 * 1024 * 1024
_TRIES: Final = 2
_LOOK_S: Final = 0.1  # how often a wait looks whether the connection still stands


class _Unasked:
    """Stands where an event was not sent yet, or where nobody listened."""


_UNASKED: Final = _Unasked()
_Answered = Ack | Refusal | _Unasked | None  # None: no answer came

Result = Ack | HooklineError
_Parcel = Waiting[Sequence[Outgoing], Sequence[Result]]


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
        self._asked: dict[str, Callable[[Msg], None]] = {}  # by token: who takes the answer
        self._costs = Costs()
        self._single = 0  # events under way singly
        self._gatherer = Gatherer[Sequence[Outgoing], Sequence[Result]](
            self._carry,
            few=lambda: self._costs.few,
            lanes=_BATCHES,
            least_beside=_LEAST_BESIDE,
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

    async def publish(self, item: Outgoing) -> Ack:
        """Publish an event and wait until the stream has it on disk.

        Raises:
            TooLarge: The server takes no message of this size.
            Overload: The stream is full or too busy, or too much waits here.
            Unavailable: NATS cannot be reached.
            Uncertain: No answer, twice. The event may be on the stream all the same.
        """
        most = self._bus.max_payload
        if item.size_bytes > most:
            raise TooLarge(most - item.size_bytes + len(item.body))
        (result,) = await self._gatherer.submit((item,), item.size_bytes, party=item.app)
        if isinstance(result, HooklineError):
            raise result
        return result

    async def publish_all(self, events: Sequence[Outgoing]) -> Sequence[Result]:
        """Publish events of an app that came together; give what became of each, in their order.

        They go in as few batches as the limits allow, among what others publish.
        """
        most = self._bus.max_payload
        answered: dict[int, Result] = {}
        handed_in = [
            (places, self._hand_in([events[place] for place in places], size))
            for places, size in _parcels(events, most)
        ]
        answers = await asyncio.gather(*(answer for _, answer in handed_in))
        for (places, _), answer in zip(handed_in, answers, strict=True):
            answered.update(zip(places, answer, strict=True))
        return [
            answered.get(place) or TooLarge(most - item.size_bytes + len(item.body))
            for place, item in enumerate(events)
        ]

    async def _hand_in(self, events: Sequence[Outgoing], size: int) -> Sequence[Result]:
        try:
            return await self._gatherer.submit(events, size, len(events), party=events[0].app)
        except HooklineError as error:
            return [error] * len(events)

    async def _carry(self, parcels: Sequence[_Parcel], /, *, few: bool) -> None:
        started = asyncio.get_running_loop().time()
        events = [item for parcel in parcels for item in parcel.item]
        results = await (self._singly(events) if few else self._whole(events))
        if isinstance(results[0], Unavailable) and not self._bus.is_connected:
            self._gatherer.fail_waiting(Unavailable(PART))  # or each would wait as long again
        start = 0
        for parcel in parcels:
            parcel.resolve(results[start : start + parcel.count])
            start += parcel.count
        seconds = asyncio.get_running_loop().time() - started
        self.metrics.published(batch=len(events), seconds=seconds)

    async def _whole(self, events: Sequence[Outgoing]) -> Sequence[Result]:
        """Publish events as a batch; singly, if the stream refuses it as one."""
        if len(events) > 1:
            try:
                results = await self._commit(events)
            except HooklineError as error:
                return [_honest(error, events[0])] * len(events)
            if results is not None:
                return results
        return await self._singly(events)

    async def _commit(self, events: Sequence[Outgoing]) -> Sequence[Result] | None:
        """Publish a batch whole; None if its members must go singly.

        Raises:
            Overload: The stream takes no more.
            Unavailable: No answer, twice.
        """
        for _ in range(_TRIES):
            started = asyncio.get_running_loop().time()
            answer = await self._ask(events)
            if isinstance(answer, Ack):
                self._costs.batch(len(events), asyncio.get_running_loop().time() - started)
                first = answer.sequence - len(events) + 1
                return [Ack(sequence=first + place) for place in range(len(events))]
            if answer is not None:
                error = error_of(answer)
                if isinstance(error, Overload):
                    raise error
                return None
            for item in events:
                item.doubtful = True
        raise Unavailable(PART)

    async def _singly(self, events: Sequence[Outgoing]) -> Sequence[Result]:
        """Publish events each by itself, in one write."""
        started = asyncio.get_running_loop().time()
        self._single += len(events)
        beside = self._single
        try:
            answers = await self._ask_each(events)
        finally:
            self._single -= len(events)
        acks = [one for one in answers if isinstance(one, Ack) and not one.duplicate]
        if len(acks) == len(events):
            self._costs.singly(beside, asyncio.get_running_loop().time() - started)
            return acks
        return await asyncio.gather(*map(self._publish_one, events, answers))

    async def _publish_one(self, item: Outgoing, answer: _Answered) -> Result:
        """Publish an event that was tried once with this answer."""
        try:
            return await self._settled(item, answer)
        except HooklineError as error:
            return _honest(error, item)

    async def _settled(self, item: Outgoing, answer: _Answered) -> Ack:
        for _ in range(_TRIES):
            if isinstance(answer, _Unasked):
                answer = await self._ask([item])
            if isinstance(answer, Refusal):
                raise error_of(answer)
            if answer is not None:
                own = answer.duplicate and await self._is_own(item, answer.sequence)
                return Ack(sequence=answer.sequence, duplicate=answer.duplicate and not own)
            item.doubtful = True
            answer = _UNASKED
        raise Unavailable(PART)

    async def _is_own(self, item: Outgoing, sequence: int) -> bool:
        """Tell whether what lies under a repeated id is this event, from a try without answer."""
        if item.unmistakable or not item.doubtful:
            return item.unmistakable
        asked = orjson.dumps({"seq": sequence})
        try:
            found = await self._bus.request(
                f"$JS.API.DIRECT.GET.{self._stream}", asked, timeout=self._ack_timeout_s
            )
        except nats.errors.Error as error:
            raise Unavailable(PART) from error
        stored = (found.headers or {}).get(event.MESSAGE_ID)
        return stored is not None and stored == item.message_id

    async def _ask(self, events: Sequence[Outgoing]) -> Ack | Refusal | None:
        """Send members and wait for the answer to the last; None if there was none.

        Raises:
            Unavailable: They could not even be sent, or no stream took them, within the time.
        """
        deadline = asyncio.get_running_loop().time() + self._ack_timeout_s
        while await self._connected(deadline):
            answer = await self._ask_once(events, deadline)
            if answer is None or not has_status(answer):
                return None if answer is None else read(answer)
            # Nobody listens: JetStream is not up yet. Nothing was stored.
            await asyncio.sleep(_LOOK_S)
        raise Unavailable(PART)

    async def _ask_once(self, events: Sequence[Outgoing], deadline: float) -> Msg | None:
        whole: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        tokens = [self._expect(partial(_take, whole))]
        if len(events) > 1:
            tokens.append(self._expect(partial(_take_refusal, whole)))
            first, last = self._inbox + tokens[1], self._inbox + tokens[0]
            pieces = wire.batch(events, f"{self._name}-{tokens[0]}", first=first, last=last)
        else:
            pieces = wire.single(events[0], self._inbox + tokens[0])
        await self._send(pieces, tokens, whole, deadline)
        return whole.result() if whole.done() else None

    async def _ask_each(self, events: Sequence[Outgoing]) -> Sequence[_Answered]:
        """Send events and wait for the answer to each."""
        if not self._bus.is_connected:
            return [_UNASKED] * len(events)
        answers = _Answers(len(events))
        tokens = [self._expect(partial(answers.take, place)) for place in range(len(events))]
        pieces = [
            piece
            for item, token in zip(events, tokens, strict=True)
            for piece in wire.single(item, self._inbox + token)
        ]
        deadline = asyncio.get_running_loop().time() + self._ack_timeout_s
        await self._send(pieces, tokens, answers.whole, deadline)
        # Where nobody listens, nothing was stored: JetStream is not up yet.
        return [
            None if answer is None else _UNASKED if has_status(answer) else read(answer)
            for answer in answers.by_place
        ]

    async def _send(
        self,
        pieces: list[bytes],
        tokens: Sequence[str],
        whole: "asyncio.Future[Any]",
        deadline: float,
    ) -> None:
        """Send bytes and wait until all answers are there, or none can come any more."""
        reconnects = self._bus.stats["reconnects"]
        try:
            await wire.send(self._bus, pieces)
            while not whole.done():
                left_s = deadline - asyncio.get_running_loop().time()
                if left_s <= 0 or self._is_lost(reconnects):
                    return
                await asyncio.wait((whole,), timeout=min(_LOOK_S, left_s))
        except (nats.errors.Error, OSError):
            return
        finally:
            for token in tokens:
                self._asked.pop(token, None)

    def _expect(self, take: "Callable[[Msg], None]") -> str:
        token = str(next(self._numbers))
        self._asked[token] = take
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

    async def _on_answer(self, message: Msg) -> None:
        take = self._asked.pop(message.subject[len(self._inbox) :], None)
        if take is not None:
            take(message)


class _Answers:
    """The answers to events that were sent together; `whole` once all are there."""

    def __init__(self, number: int) -> None:
        self.by_place: list[Msg | None] = [None] * number
        self.whole: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = number

    def take(self, place: int, message: Msg) -> None:
        """Take one of them."""
        self.by_place[place] = message
        self._left -= 1
        if not self._left and not self.whole.done():
            self.whole.set_result(None)


def _take(whole: "asyncio.Future[Msg]", message: Msg) -> None:
    if not whole.done():
        whole.set_result(message)


def _take_refusal(whole: "asyncio.Future[Msg]", message: Msg) -> None:
    """Take the answer to the first of a batch: that it was taken says nothing, the last counts."""
    if message.data or message.headers:
        _take(whole, message)


def _parcels(events: Sequence[Outgoing], most: int) -> Iterator[tuple[list[int], int]]:
    """Divide events, by place, into what fits a batch; leave those out that fit no message."""
    places: list[int] = []
    size = 0
    for place, item in enumerate(events):
        more = item.size_bytes
        if more > most:
            continue
        if places and (len(places) == _PARCEL or size + more > _BATCH_BYTES):
            yield places, size
            places, size = [], 0
        places.append(place)
        size += more
    if places:
        yield places, size


def _honest(error: HooklineError, item: Outgoing) -> HooklineError:
    """Give the error to answer with: after a try without an answer nobody knows more."""
    return Uncertain() if item.doubtful else error
