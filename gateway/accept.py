"""Accepts messages by HTTP: reads them, refuses repeated event ids, publishes them.

The bytes of `payload` are cut out of the request as they are. An event id is repeated if this
gateway accepted it a moment ago, if Postgres knows it, or if the stream does (for its duplicate
window): the stream's word is the last, so that of two at the same time one is refused.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeGuard

from gateway.batch import Relay
from gateway.body import TYPE_FAULT, Fields
from gateway.parts import Parts
from gateway.splice import spans
from gateway.wire import Outgoing, outgoing
from schema import event, ids
from schema.errors import Conflict, TooLarge
from schema.message import Message
from schema.store import message as store

PAYLOAD: Final = ("payload", "data")
NOWHERE: Final = (0, 0)
_MAX_LENGTH: Final = 256  # of an event type and an event id
_ASK_TOGETHER: Final = 500
CHANCE_BYTES: Final = ids.CHANCE_BYTES
TAKEN: Final = "A message with this eventId exists already."
# What would change what is sent, or when: refused rather than left out.
_UNKNOWN: Final = {
    "deliverAt": "messages for later are not supported",
    "transformationsParams": "transformations and raw payloads are not supported",
}
_PLAIN: Final = frozenset({"eventType", "eventId", "payload"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message as a request gives it."""

    event_type: str
    event_id: str | None
    channels: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    payload: bytes


def read_draft(data: object, body: bytes, *, max_bytes: int) -> Draft:
    """Read a message from a body and what a parser made of it.

    Raises:
        Invalid: Fields are not as they must be.
        TooLarge: The payload is larger than the limit.
    """
    if is_plain(data):
        start, end = spans(body, PAYLOAD[:1], data)[PAYLOAD[0]]
        return plain_draft(data, body[start:end], max_bytes=max_bytes)
    fields = Fields(data)
    name = payload_name(fields)
    # Of what is no object `draft_of` speaks.
    span = spans(body, (name,))[name] if isinstance(fields.raw(name), dict) else NOWHERE
    return draft_of(fields, *span, body, max_bytes=max_bytes)


def draft_of(fields: Fields, start: int, end: int, body: bytes, *, max_bytes: int) -> Draft:
    """Read a message from its parsed fields; its payload stands in the body from start to end.

    Raises:
        Invalid: Fields are not as they must be.
        TooLarge: The payload is larger than the limit.
    """
    event_id = read_event_id(fields)
    event_type = fields.text(
        "eventType", min_length=1, max_length=_MAX_LENGTH, pattern=event.EVENT_TYPE_PATTERN
    )
    channels = fields.optional_texts(
        "channels", pattern=event.CHANNEL_PATTERN, max_items=event.MAX_CHANNELS
    )
    tags = fields.optional_texts(
        "tags", pattern=event.TAG_PATTERN, min_items=0, max_items=event.MAX_TAGS
    )
    for name, why in _UNKNOWN.items():
        if fields.raw(name):
            fields.fault(name, why)
    _check_payload(fields)
    fields.check()
    if end - start > max_bytes:
        raise TooLarge(max_bytes)
    return Draft(
        event_type=event_type,
        event_id=event_id,
        channels=channels,
        tags=tags or None,
        payload=body[start:end],
    )


def read_event_id(fields: Fields) -> str | None:
    """Read `eventId`; what begins as ids of messages do is a fault."""
    event_id = fields.optional_text(
        "eventId", min_length=1, max_length=_MAX_LENGTH, pattern=event.UID_PATTERN
    )
    if event_id is not None and event_id.startswith(ids.MESSAGE):
        fields.fault("eventId", f"must not begin with {ids.MESSAGE}")
    return event_id


def is_plain(data: object) -> TypeGuard[Mapping[str, Any]]:
    """Tell whether a message has but the usual fields, and these as `read_draft` wants them.

    Most have. It says so in a tenth of the time that naming faults takes; it may say no to what is
    right, and never yes to what is wrong.
    """
    if not isinstance(data, dict) or not data.keys() <= _PLAIN:
        return False
    event_type, event_id = data.get("eventType"), data.get("eventId", "-")
    return (
        isinstance(event_type, str)
        and isinstance(event_id, str)
        and isinstance(data.get("payload"), dict)
        and event.EVENT_TYPE_PATTERN.match(event_type) is not None
        and event.UID_PATTERN.match(event_id) is not None
        and not event_id.startswith(ids.MESSAGE)
    )


def plain_draft(data: Mapping[str, Any], payload: bytes, *, max_bytes: int) -> Draft:
    """Read a message that `is_plain`.

    Raises:
        TooLarge: The payload is larger than the limit.
    """
    if len(payload) > max_bytes:
        raise TooLarge(max_bytes)
    return Draft(
        event_type=data["eventType"],
        event_id=data.get("eventId"),
        channels=None,
        tags=None,
        payload=payload,
    )


class Door:
    """Accepts drafts for one gateway."""

    def __init__(self) -> None:
        """Start with nobody asking."""
        self._ledger = Relay[tuple[str, str], bool](most=_ASK_TOGETHER)

    async def accept(self, given: Parts, app_id: str, draft: Draft) -> Message:
        """Publish a draft and give the message that it is now.

        Raises:
            Conflict: Its event id is taken.
        """
        if draft.event_id is not None:
            await self._check_event_id(given, app_id, draft.event_id)
        message = message_of(app_id, draft, given.clock(), os.urandom(CHANCE_BYTES))
        ack = await given.publisher.publish(outgoing_of(message))
        if ack.duplicate:
            raise Conflict(TAKEN)
        given.publisher.recent.add(message)
        return message

    async def _check_event_id(self, given: Parts, app_id: str, event_id: str) -> None:
        known = given.publisher.recent.get(app_id, event_id) is not None
        if known or await self._ledger.ask((app_id, event_id), partial(_known, given)):
            raise Conflict(TAKEN)


async def _known(given: Parts, wanted: Sequence[tuple[str, str]]) -> Sequence[bool]:
    async with given.connection() as link:
        known = await store.known_event_ids(link, wanted)
    return [one in known for one in wanted]


def payload_name(fields: Fields) -> str:
    """Say which field the payload is in; `data` is its older name."""
    return next((name for name in PAYLOAD if fields.has(name)), PAYLOAD[0])


def _check_payload(fields: Fields) -> None:
    name = payload_name(fields)
    if not fields.has(name):
        fields.fault(name, "is required", fault_type="value_error.missing")
    elif not isinstance(fields.raw(name), dict):
        fields.fault(name, "an object is expected", fault_type=TYPE_FAULT)


def message_of(app_id: str, draft: Draft, now: datetime, chance: bytes) -> Message:
    """Make the message that a draft becomes now."""
    return Message(
        app_id=app_id,
        id=ids.new_id(ids.MESSAGE, now, chance),
        event_type=draft.event_type,
        event_id=draft.event_id,
        channels=draft.channels,
        tags=draft.tags,
        payload=draft.payload,
        content_type=event.JSON,
        created_at=now,
    )


def outgoing_of(message: Message) -> Outgoing:
    """Make a message ready for the stream."""
    subject, headers = event.publish_subject(message.app_id, message.event_type)
    return outgoing(subject, headers | _headers(message), message.payload or b"")


def with_headers(item: Outgoing, headers: Mapping[str, str]) -> Outgoing:
    """Add headers to an event; neither names nor values may hold line breaks."""
    item.head += "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode()
    return item


def _headers(message: Message) -> dict[str, str]:
    headers = {event.MESSAGE_ID: message.id, event.DEDUPE_ID: message.id}
    if message.event_id is not None:
        headers[event.EVENT_ID] = message.event_id
        headers[event.DEDUPE_ID] = f"{message.app_id}:{message.event_id}"
    if message.channels:
        headers[event.CHANNELS] = ",".join(message.channels)
    if message.tags:
        headers[event.TAGS] = ",".join(message.tags)
    return headers
