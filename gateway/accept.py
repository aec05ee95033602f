"""Accepts messages by HTTP: reads them, refuses repeated event ids, publishes them.

The bytes of `payload` are cut out of the request as they are. An event id is repeated if this
gateway accepted it a moment ago, if Postgres knows it, or if the stream does (for its duplicate
window): the stream's word is the last, so that of two at the same time one is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from gateway.batch import Relay
from gateway.body import TYPE_FAULT, Fields
from gateway.parts import Parts
from gateway.splice import spans
from schema import event, ids
from schema.errors import Conflict, TooLarge
from schema.message import Message
from schema.store import message as store

_PAYLOAD: Final = ("payload", "data")
_MAX_LENGTH: Final = 256  # of an event type and an event id
_ASK_TOGETHER: Final = 500
_TAKEN: Final = "A message with this eventId exists already."
# What would change what is sent, or when: refused rather than left out.
_UNKNOWN: Final = {
    "deliverAt": "messages for later are not supported",
    "transformationsParams": "transformations and raw payloads are not supported",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message as a request gives it."""

    event_type: str
    event_id: str | None
    channels: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    payload: bytes


def read_draft(fields: Fields, body: bytes, *, max_bytes: int) -> Draft:
    """Read a message from a body and its parsed fields.

    Raises:
        Invalid: Fields are not as they must be.
        TooLarge: The payload is larger than the limit.
    """
    event_id = fields.optional_text(
        "eventId", min_length=1, max_length=_MAX_LENGTH, pattern=event.UID_PATTERN
    )
    if event_id is not None and event_id.startswith(ids.MESSAGE):
        fields.fault("eventId", f"must not begin with {ids.MESSAGE}")
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
    payload = _payload(fields, body)
    fields.check()
    if len(payload) > max_bytes:
        raise TooLarge(max_bytes)
    return Draft(
        event_type=event_type,
        event_id=event_id,
        channels=channels,
        tags=tags or None,
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
        message = _message(given, app_id, draft)
        subject, headers = event.publish_subject(app_id, draft.event_type)
        headers |= _headers(message)
        ack = await given.publisher.publish(subject, headers, draft.payload)
        if ack.duplicate:
            raise Conflict(_TAKEN)
        given.publisher.recent.add(message)
        return message

    async def _check_event_id(self, given: Parts, app_id: str, event_id: str) -> None:
        known = given.publisher.recent.get(app_id, event_id) is not None
        if known or await self._ledger.ask((app_id, event_id), partial(_known, given)):
            raise Conflict(_TAKEN)


async def _known(given: Parts, wanted: Sequence[tuple[str, str]]) -> Sequence[bool]:
    async with given.connection() as link:
        known = await store.known_event_ids(link, wanted)
    return [one in known for one in wanted]


def _payload(fields: Fields, body: bytes) -> bytes:
    name = next((name for name in _PAYLOAD if fields.has(name)), _PAYLOAD[0])
    if not fields.has(name):
        fields.fault(name, "is required", fault_type="value_error.missing")
    elif not isinstance(fields.raw(name), dict):
        fields.fault(name, "an object is expected", fault_type=TYPE_FAULT)
    if fields.faults:
        return b""
    start, end = spans(body, (name,))[name]
    return body[start:end]


def _message(given: Parts, app_id: str, draft: Draft) -> Message:
    now = given.clock()
    return Message(
        app_id=app_id,
        id=ids.new_id(ids.MESSAGE, now),
        event_type=draft.event_type,
        event_id=draft.event_id,
        channels=draft.channels,
        tags=draft.tags,
        payload=draft.payload,
        content_type=event.JSON,
        created_at=now,
    )


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
