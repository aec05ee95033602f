"""Messages that were accepted a moment ago and may not be in Postgres yet.

Two places know them: the gateway that accepted them, for some seconds, in memory; and the stream,
for days, which is asked by time and app, so that it makes no difference which gateway accepted a
message or whether a dispatcher runs.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from schema import event, ids
from schema.errors import Unavailable
from schema.message import Message

_MOST: Final = 20_000
_MOST_BYTES: Final = 32 * 1024 * 1024
_KEPT_S: Final = 30.0
_ANSWER_S: Final = 2.0
_AT_ONCE: Final = 64  # events of one answer of the stream
_AT_ONCE_BYTES: Final = 1024 * 1024  # and of their bytes, after the first
_MOST_SEEN: Final = 1_024  # events of the app that one search goes through
# The id is made before the event is published, by another clock than the stream's: a search
# begins shortly before the id's time, then once more with clocks that disagree.
_BEFORE: Final = (timedelta(milliseconds=10), timedelta(seconds=5))
_AFTER: Final = timedelta(seconds=15)  # longer than any gateway goes on trying to publish


class Recent:
    """What this gateway accepted lately, bounded in number, bytes and age."""

    def __init__(
        self,
        *,
        most: int = _MOST,
        most_bytes: int = _MOST_BYTES,
        kept_s: float = _KEPT_S,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the bounds."""
        self._most = most
        self._most_bytes = most_bytes
        self._kept_s = kept_s
        self._monotonic_s = monotonic_s
        self._bytes = 0
        self._by_id: dict[tuple[str, str], Message] = {}
        self._by_event_id: dict[tuple[str, str], Message] = {}
        self._by_key: dict[tuple[str, str], Message] = {}
        # In the order they came, forgotten ones too. Not the order of the dicts: to look for the
        # first entry of one that loses its first entries costs the more, the more it lost.
        self._order: deque[tuple[float, Message]] = deque()

    def __len__(self) -> int:
        return len(self._by_id)

    def add(self, message: Message, *, keyed: bool = False) -> None:
        """Remember a message, and forget what is old or too much.

        `keyed`: the end of its id is derived from an idempotency key.
        """
        now_s = self._monotonic_s()
        self._by_id[message.app_id, message.id] = message
        self._bytes += len(message.payload or b"")
        if message.event_id is not None:
            self._by_event_id[message.app_id, message.event_id] = message
        if keyed:
            self._by_key[message.app_id, ids.chance_of(message.id)] = message
        order = self._order
        order.append((now_s, message))
        while order and (
            len(self._by_id) > self._most
            or self._bytes > self._most_bytes
            or now_s - order[0][0] > self._kept_s
        ):
            oldest = order.popleft()[1]
            self.forget(oldest.app_id, oldest.id)

    def get(self, app_id: str, ident: str) -> Message | None:
        """Give a message by its id or event id."""
        found = self._by_id.get((app_id, ident))
        return found if found is not None else self._by_event_id.get((app_id, ident))

    def keyed(self, app_id: str, key: str) -> Message | None:
        """Give a message by the end of its id, if an idempotency key made it."""
        return self._by_key.get((app_id, key))

    def forget(self, app_id: str, message_id: str) -> None:
        """Forget a message."""
        message = self._by_id.pop((app_id, message_id), None)
        if message is None:
            return
        self._bytes -= len(message.payload or b"")
        if self._by_key:
            self._by_key.pop((app_id, ids.chance_of(message_id)), None)
        if message.event_id is not None:
            key = (app_id, message.event_id)
            if self._by_event_id.get(key) is message:
                del self._by_event_id[key]


async def on_stream(
    bus: Client, *, stream: str, shards: int, app_id: str, message_id: str, max_bytes: int
) -> Message | None:
    """Look for a message among the app's events of the id's time; None if it is not there.

    An app with more than a thousand events in that moment may be searched in part only.

    Raises:
        Unavailable: NATS does not answer, so nobody can say.
    """
    made_at = ids.time_of(message_id)
    subject = f"{event.SHARD_ROOT}.{ids.shard_of(app_id, shards)}.{app_id}.>"
    try:
        for before in _BEFORE:
            asked = {"next_by_subj": subject, "start_time": _rfc3339(made_at - before)}
            found = await _search(bus, stream, asked, message_id, until=made_at + _AFTER)
            if found is not None:
                return _message(found, app_id, max_bytes)
    except (nats.errors.Error, TimeoutError) as error:
        part = "NATS"
        raise Unavailable(part) from error
    return None


async def at_sequence(
    bus: Client, *, stream: str, sequence: int, app_id: str, max_bytes: int
) -> Message | None:
    """Give the app's message that lies at a place of the stream; None if there is none.

    Raises:
        Unavailable: NATS does not answer, so nobody can say.
    """
    try:
        asked = orjson.dumps({"seq": sequence})
        answer = await bus.request(f"$JS.API.DIRECT.GET.{stream}", asked, timeout=_ANSWER_S)
    except (nats.errors.Error, TimeoutError) as error:
        part = "NATS"
        raise Unavailable(part) from error
    if "Nats-Sequence" not in (answer.headers or {}):
        return None
    return _message(_event(answer), app_id, max_bytes)


async def _search(
    bus: Client, stream: str, asked: Mapping[str, object], message_id: str, *, until: datetime
) -> event.Event | None:
    for _ in range(_MOST_SEEN // _AT_ONCE):
        page = await _page(bus, stream, asked)
        for one in page:
            if one.headers.get(event.MESSAGE_ID) == message_id:
                return one
        if not page or page[-1].at > until:
            return None
        asked = {"next_by_subj": asked["next_by_subj"], "seq": page[-1].sequence + 1}
    return None


async def _page(bus: Client, stream: str, asked: Mapping[str, object]) -> list[event.Event]:
    """Ask for some events; they come one by one, and a message without them ends the answer."""
    inbox = bus.new_inbox()
    answers: asyncio.Queue[Msg] = asyncio.Queue()
    subscription = await bus.subscribe(inbox, cb=answers.put)
    try:
        bounded = {**asked, "batch": _AT_ONCE, "max_bytes": _AT_ONCE_BYTES}
        await bus.publish(f"$JS.API.DIRECT.GET.{stream}", orjson.dumps(bounded), reply=inbox)
        page = []
        async with asyncio.timeout(_ANSWER_S):
            while "Status" not in ((answer := await answers.get()).headers or {}):
                page.append(_event(answer))
        return page
    finally:
        if bus.is_connected:
            await subscription.unsubscribe()


def _event(answer: Msg) -> event.Event:
    headers = answer.headers or {}
    return event.Event(
        subject=headers["Nats-Subject"],
        headers=headers,
        body=answer.data,
        sequence=int(headers["Nats-Sequence"]),
        at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
    )


def _message(found: event.Event, app_id: str, max_bytes: int) -> Message | None:
    draft = event.read_event(found, max_bytes=max_bytes)
    if isinstance(draft, event.Rejection):
        return None
    return Message(
        app_id=app_id,
        id=draft.message_id,
        event_type=draft.event_type,
        event_id=draft.event_id,
        channels=draft.channels,
        tags=draft.tags,
        payload=draft.body,
        content_type=draft.content_type,
        created_at=draft.at,
        deliver_at=draft.deliver_at,
    )


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
