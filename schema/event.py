"""Events on the stream: subjects, headers, CloudEvents, and how one becomes a message. Pure.

A producer publishes `events.<app id or uid>.<event type>`; the stream stores it under
`shard.<n>.<app>.<event type>` by its subject transform. Header names are ours unless they start
with `ce-` (CloudEvents 1.0, HTTP binding names) or `Nats-` (the server's).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from schema import ids
from schema.json_text import read_json

STREAM: Final = "EVENTS"
SUBJECT_ROOT: Final = "events"
SHARD_ROOT: Final = "shard"
WAKE_ROOT: Final = "wake"
SETTLED_ROOT: Final = "settled"  # .<message id>: the attempt that somebody waits for was settled

MESSAGE_ID: Final = "Hookline-Message-Id"
EVENT_ID: Final = "Hookline-Event-Id"
CHANNELS: Final = "Hookline-Channels"
TAGS: Final = "Hookline-Tags"
ENVIRONMENT: Final = "Hookline-Environment"
APP: Final = "Hookline-App"
EVENT_TYPE: Final = "Hookline-Event-Type"
CONTENT_TYPE: Final = "Hookline-Content-Type"
DELIVER_AT: Final = "Hookline-Deliver-At"
PAYLOAD_HOURS: Final = "Hookline-Payload-Hours"
RAW: Final = "Hookline-Raw"
PARAMS: Final = "Hookline-Transformations-Params"
# The gateway's alone: the end of the message's id is derived from an idempotency key.
KEYED: Final = "Hookline-Keyed"
ENDPOINT: Final = "Hookline-Endpoint"
ONCE: Final = "Hookline-Once"
DEAD_LETTER: Final = "Hookline-Dead-Letter"
DEDUPE_ID: Final = "Nats-Msg-Id"

UID_PATTERN: Final = re.compile(r"[a-zA-Z0-9\-_.]{1,256}\Z")
EVENT_TYPE_PATTERN: Final = re.compile(r"[a-zA-Z0-9\-_.]{1,256}\Z")
CHANNEL_PATTERN: Final = re.compile(r"[a-zA-Z0-9\-_.:+]{1,128}\Z")
TAG_PATTERN: Final = re.compile(r"[a-zA-Z0-9\-_./\\#]{1,128}\Z")
MAX_CHANNELS: Final = 10
MAX_TAGS: Final = 5
MOST_AHEAD: Final = timedelta(hours=24)  # of a message for later
MAX_PAYLOAD_HOURS: Final = 2_160
MAX_PARAMS_BYTES: Final = 8_192  # as a JSON object in ASCII
JSON: Final = "application/json"
_SUBJECT_TOKENS: Final = re.compile(r"[a-zA-Z0-9\-_]+(\.[a-zA-Z0-9\-_]+)*\Z")
_PLACEHOLDER: Final = "_"
_FAR: Final = timedelta(days=1)
_SLACK: Final = timedelta(minutes=1)  # of the producer's clock
_HOURS: Final = re.compile(r"[0-9]{1,4}\Z")
CONTENT_TYPE_PATTERN: Final = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}\Z")


_Times = tuple[datetime | None, datetime | None]


class Event(NamedTuple):
    """What lay on the stream: the stored subject, headers, bytes, and where and when.

    A named tuple, as a draft is, because one is made per event.
    """

    subject: str
    headers: Mapping[str, str]
    body: bytes
    sequence: int
    at: datetime


class Draft(NamedTuple):
    """An event read as a message to be; the app is still only named.

    Attributes:
        keyed: The end of its id is derived from an idempotency key.
        deliver_at: When its first attempt is due; None is at once.
        payload_until: When its payload is forgotten; None is with the message.
        endpoint_id: It is for this endpoint alone.
        letter_id: It was made of this dead letter.
        once: That endpoint gets one attempt, now, whatever comes of it.
        params: What transformations are told besides, as a JSON object.
    """

    message_id: str
    app: str
    environment: str | None
    event_type: str
    event_id: str | None
    channels: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    body: bytes
    content_type: str
    at: datetime
    by_gateway: bool
    keyed: bool = False
    deliver_at: datetime | None = None
    payload_until: datetime | None = None
    endpoint_id: str | None = None
    letter_id: str | None = None
    once: bool = False
    params: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why an event cannot become a message. `reason` is stored and listed."""

    reason: str
    detail: str


def publish_subject(app_id: str, event_type: str) -> tuple[str, dict[str, str]]:
    """Give the subject to publish on, and the headers that say what a subject cannot."""
    if _SUBJECT_TOKENS.match(event_type):
        return f"{SUBJECT_ROOT}.{app_id}.{event_type}", {}
    return f"{SUBJECT_ROOT}.{app_id}.{_PLACEHOLDER}", {EVENT_TYPE: event_type}


def shard_filters(shard: int) -> list[str]:
    """Give the stored subjects of a shard; shard 0 also has those that fit no shard."""
    stray = [f"{SUBJECT_ROOT}.>"] if shard == 0 else []
    return [f"{SHARD_ROOT}.{shard}.>", *stray]


def read_event(event: Event, *, max_bytes: int) -> Draft | Rejection:
    """Read an event as a message to be, or say why it cannot be one."""
    headers = event.headers
    app, event_type, fault = _addressed(
        event.subject, headers.get(APP), headers.get(EVENT_TYPE) or headers.get("ce-type")
    )
    fault = fault or _body_fault(event.body, max_bytes, raw=RAW in headers)
    if fault is not None:
        return fault
    if not headers:
        return Draft(
            message_id=_derived(event),
            app=app,
            environment=None,
            event_type=event_type,
            event_id=None,
            channels=None,
            tags=None,
            body=event.body,
            content_type=JSON,
            at=event.at,
            by_gateway=False,
        )
    return _with_headers(event, app, event_type)


def _with_headers(event: Event, app: str, event_type: str) -> Draft | Rejection:
    headers = event.headers
    given = headers.get(MESSAGE_ID)
    if given is not None and not _plausible(given, event.at):
        return Rejection(
            reason="bad_message_id",
            detail=f"{MESSAGE_ID} must be msg_ and 27 base62 characters of the time of publishing",
        )
    event_id = headers.get(EVENT_ID) or headers.get("ce-id") or None
    if event_id is not None and not UID_PATTERN.match(event_id):
        detail = f"{EVENT_ID} must match {UID_PATTERN.pattern}"
        return Rejection(reason="bad_event_id", detail=detail)
    lists = _lists(headers)
    if isinstance(lists, Rejection):
        return lists
    times: _Times | Rejection = (None, None)
    if DELIVER_AT in headers or PAYLOAD_HOURS in headers:
        times = _times(headers, event.at)
    if isinstance(times, Rejection):
        return times
    fault = _reference_fault(headers) or _params_fault(headers.get(PARAMS))
    if fault is not None:
        return fault
    endpoint_id = headers.get(ENDPOINT) or None
    return Draft(
        message_id=given or _derived(event),
        app=app,
        environment=headers.get(ENVIRONMENT) or None,
        event_type=event_type,
        event_id=event_id,
        channels=lists[0],
        tags=lists[1],
        body=event.body,
        content_type=_content_type(headers.get(CONTENT_TYPE)),
        at=event.at,
        by_gateway=given is not None,
        keyed=given is not None and KEYED in headers,
        deliver_at=times[0],
        payload_until=times[1],
        endpoint_id=endpoint_id,
        letter_id=headers.get(DEAD_LETTER) or None,
        once=endpoint_id is not None and ONCE in headers,
        params=headers.get(PARAMS) or None,
    )


def _reference_fault(headers: Mapping[str, str]) -> Rejection | None:
    for name, prefix in ((ENDPOINT, ids.ENDPOINT), (DEAD_LETTER, ids.DEAD_LETTER)):
        given = headers.get(name)
        if given and not ids.is_id(prefix, given):
            return Rejection(reason="bad_reference", detail=f"{name} must be an id, {prefix}...")
    return None


def _params_fault(given: str | None) -> Rejection | None:
    if not given:
        return None
    try:
        if len(given) <= MAX_PARAMS_BYTES and isinstance(orjson.loads(given), dict):
            return None
    except orjson.JSONDecodeError:
        pass
    detail = f"{PARAMS} must be a JSON object of at most {MAX_PARAMS_BYTES} bytes"
    return Rejection(reason="bad_params", detail=detail)


def _derived(event: Event) -> str:
    """Make the message id that this event always gets."""
    source = f"{event.sequence}:{event.at.isoformat()}".encode()
    return ids.derived_id(ids.MESSAGE, event.at, source)


def _content_type(given: str | None) -> str:
    return given if given and CONTENT_TYPE_PATTERN.match(given) else JSON


def _plausible(message_id: str, at: datetime) -> bool:
    """Tell whether a producer's id says the time at which it published, give or take a day."""
    if not ids.is_id(ids.MESSAGE, message_id):
        return False
    try:
        return abs(ids.rough_time_of(message_id) - at) < _FAR
    except ValueError:
        return False


@lru_cache(maxsize=4096)  # few subjects have most of the events
def _addressed(
    subject: str, app_header: str | None, type_header: str | None
) -> tuple[str, str, Rejection | None]:
    """Take app and event type from headers first, then from `shard.<n>.<app>.<type>`."""
    root, _, rest = subject.partition(".")
    if root == SHARD_ROOT:
        rest = rest.partition(".")[2]
    app, _, event_type = rest.partition(".")
    app, event_type = app_header or app, type_header or event_type
    fault = None
    if not UID_PATTERN.match(app) or not event_type:
        detail = "publish to events.<app id or uid>.<event type>"
        fault = Rejection(reason="bad_subject", detail=detail)
    elif not EVENT_TYPE_PATTERN.match(event_type):
        detail = f"an event type must match {EVENT_TYPE_PATTERN.pattern}"
        fault = Rejection(reason="bad_event_type", detail=detail)
    return app, event_type, fault


def _body_fault(body: bytes, max_bytes: int, *, raw: bool) -> Rejection | None:
    if len(body) > max_bytes:
        return Rejection(reason="too_large", detail=f"{len(body)} bytes; the limit is {max_bytes}")
    if raw:
        return None
    try:
        read_json(body)
    except orjson.JSONDecodeError as error:
        return Rejection(reason="not_json", detail=str(error))
    return None


def _lists(
    headers: Mapping[str, str],
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None] | Rejection:
    channels = _split(headers.get(CHANNELS))
    if channels and (
        len(channels) > MAX_CHANNELS or not all(CHANNEL_PATTERN.match(c) for c in channels)
    ):
        detail = f"{CHANNELS}: at most {MAX_CHANNELS}, comma separated"
        return Rejection(reason="bad_channels", detail=detail)
    tags = _split(headers.get(TAGS))
    if tags and (len(tags) > MAX_TAGS or not all(TAG_PATTERN.match(t) for t in tags)):
        return Rejection(reason="bad_tags", detail=f"{TAGS}: at most {MAX_TAGS}, comma separated")
    return channels, tags


def _times(headers: Mapping[str, str], at: datetime) -> _Times | Rejection:
    """Read when it is to be delivered, if that is still to come; until when its payload is kept."""
    deliver_at, hours = headers.get(DELIVER_AT), headers.get(PAYLOAD_HOURS)
    due = until = None
    if deliver_at is not None:
        due = _time(deliver_at)
        if due is None or due - at > MOST_AHEAD + _SLACK:
            detail = f"{DELIVER_AT} must be an RFC 3339 time at most 24 hours ahead"
            return Rejection(reason="bad_deliver_at", detail=detail)
    if hours is not None:
        if not _HOURS.match(hours) or not 1 <= int(hours) <= MAX_PAYLOAD_HOURS:
            detail = f"{PAYLOAD_HOURS} must be 1 to {MAX_PAYLOAD_HOURS}"
            return Rejection(reason="bad_payload_hours", detail=detail)
        until = at + timedelta(hours=int(hours))
    return due if due is not None and due > at else None, until


def _time(text: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _split(text: str | None) -> tuple[str, ...] | None:
    return tuple(part.strip() for part in text.split(",") if part.strip()) or None if text else None
