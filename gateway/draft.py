"""Reads messages from requests to publish.

The bytes of `payload` are cut out of the request as they are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeGuard

from gateway.body import TYPE_FAULT, Fields, Published
from gateway.splice import spans
from schema import event, ids
from schema.errors import TooLarge

PAYLOAD: Final = ("payload", "data")
NOWHERE: Final = (0, 0)
LEAST_AHEAD: Final = timedelta(minutes=1)
MAX_PAYLOAD_DAYS: Final = 90
_PARAMS: Final = "transformationsParams"
_RAW: Final = "rawPayload"
_MAX_LENGTH: Final = 256  # of an event type and an event id
_PLAIN: Final = frozenset({"eventType", "eventId", "payload"})
_SLACK: Final = timedelta(seconds=5)  # of the caller's clock
_DAY_HOURS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message as a request gives it.

    Attributes:
        deliver_at: When its first attempt is due; None is at once.
        headers: What the intake is told besides, by headers of the event.
    """

    event_type: str
    event_id: str | None
    channels: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    payload: bytes
    deliver_at: datetime | None = None
    headers: Mapping[str, str] | None = None

    @property
    def is_raw(self) -> bool:
        """Tell whether the payload may be no JSON."""
        return self.headers is not None and event.RAW in self.headers


def read_draft(published: Published, *, max_bytes: int, now: datetime) -> Draft:
    """Read a message from a body and what a parser made of it.

    Raises:
        Invalid: Fields are not as they must be.
        TooLarge: The payload is larger than the limit.
    """
    data, text, body = published
    if is_plain(data):
        start, end = spans(text, PAYLOAD[:1], data)[PAYLOAD[0]]
        return plain_draft(data, body[start:end], max_bytes=max_bytes)
    fields = Fields(data)
    name = payload_name(fields)
    # Of what is no object `draft_of` speaks.
    span = spans(text, (name,))[name] if isinstance(fields.raw(name), dict) else NOWHERE
    return draft_of(fields, body[slice(*span)], max_bytes=max_bytes, now=now)


def draft_of(fields: Fields, payload: bytes, *, max_bytes: int, now: datetime) -> Draft:
    """Read a message from its parsed fields, and the bytes of its payload.

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
    deliver_at = _read_deliver_at(fields, now)
    headers = _read_retention(fields)
    _check_payload(fields)
    raw = _read_raw(fields)
    headers |= _read_params(fields)
    fields.check()
    if raw is not None:
        payload = raw.text
        headers |= raw.headers
    if len(payload) > max_bytes:
        raise TooLarge(max_bytes)
    return Draft(
        event_type=event_type,
        event_id=event_id,
        channels=channels,
        tags=tags or None,
        payload=payload,
        deliver_at=deliver_at,
        headers=headers or None,
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


def payload_name(fields: Fields) -> str:
    """Say which field the payload is in; `data` is its older name."""
    return next((name for name in PAYLOAD if fields.has(name)), PAYLOAD[0])


def _check_payload(fields: Fields) -> None:
    name = payload_name(fields)
    if not fields.has(name):
        fields.fault(name, "is required", fault_type="value_error.missing")
    elif not isinstance(fields.raw(name), dict):
        fields.fault(name, "an object is expected", fault_type=TYPE_FAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Raw:
    """A text that is sent as it is in place of the payload."""

    text: bytes
    headers: Mapping[str, str]


def _read_raw(fields: Fields) -> _Raw | None:
    """Read of `transformationsParams` a raw payload, and its content type."""
    params = fields.document(_PARAMS)
    text = (params or {}).get(_RAW)
    if params is None or text is None:
        return None
    if not isinstance(text, str):
        fields.fault(_PARAMS, "rawPayload: a text is expected", fault_type=TYPE_FAULT)
        return None
    headers = {event.RAW: "1"}
    content_type = _content_type(fields, params.get("headers"))
    if content_type is not None:
        headers[event.CONTENT_TYPE] = content_type
    return _Raw(text=text.encode("utf-8", "replace"), headers=headers)


def _read_params(fields: Fields) -> dict[str, str]:
    """Read the rest of `transformationsParams`, which endpoints' code is told."""
    given = fields.raw(_PARAMS)
    params = {k: v for k, v in given.items() if k != _RAW} if isinstance(given, dict) else {}
    if not params:
        return {}
    text = json.dumps(params, separators=(",", ":"))  # in ASCII: it goes as a header
    if len(text) > event.MAX_PARAMS_BYTES:
        fields.fault(_PARAMS, f"at most {event.MAX_PARAMS_BYTES} bytes are taken, as JSON in ASCII")
    return {event.PARAMS: text}


def _content_type(fields: Fields, given: object) -> str | None:
    named = given if isinstance(given, dict) else {}
    found = {str(name).lower(): value for name, value in named.items()}
    if found.keys() - {"content-type"}:
        fields.fault(_PARAMS, "headers: of a message only content-type can be set")
    value = found.get("content-type")
    if value is None:
        return None
    if not isinstance(value, str) or not event.CONTENT_TYPE_PATTERN.match(value):
        fields.fault(_PARAMS, "headers: content-type must be at most 255 plain characters")
        return None
    return value


def _read_deliver_at(fields: Fields, now: datetime) -> datetime | None:
    at = fields.optional_time("deliverAt")
    if at is not None and not LEAST_AHEAD - _SLACK <= at - now <= event.MOST_AHEAD + _SLACK:
        fields.fault("deliverAt", "must be one minute to 24 hours ahead")
    return at


def _read_retention(fields: Fields) -> dict[str, str]:
    """Read how long the payload is kept; hours go before days."""
    days = fields.optional_integer("payloadRetentionPeriod", minimum=1, maximum=MAX_PAYLOAD_DAYS)
    hours = fields.optional_integer(
        "payloadRetentionHours", minimum=1, maximum=event.MAX_PAYLOAD_HOURS
    )
    if hours is None and days is not None:
        hours = days * _DAY_HOURS
    return {} if hours is None else {event.PAYLOAD_HOURS: str(hours)}
