"""Publishes a rejected event after all, with what was wrong with it mended.

It is read again as the intake reads events, so that what is published will not be rejected once
more. It becomes a new message, whose id is chosen before and kept to: whoever tries again after
an answer that got lost makes no second one.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request

from gateway import draft as drafts
from gateway import trail
from gateway.accept import CHANCE_BYTES, TAKEN, outgoing_of
from gateway.auth import Caller
from gateway.body import Fields, parse_published, read_body
from gateway.parts import Parts
from gateway.splice import spans
from gateway.wire import Outgoing
from schema import event, ids
from schema.app import App
from schema.dead_letter import RejectedEvent
from schema.errors import Conflict, FieldFault, Invalid, NotFound
from schema.message import Message
from schema.store import endpoint
from schema.store import message as messages
from schema.store import rejected_event as store

_MAX_REASON: Final = 500
_MAX_LENGTH: Final = 256
_KEPT_TO: Final = timedelta(hours=12)  # an id must say when its event was published, to a day
_OWN: Final = frozenset({event.MESSAGE_ID, event.DEDUPE_ID, event.ENVIRONMENT, event.KEYED})
_KEPT: Final = frozenset({event.CONTENT_TYPE, event.PAYLOAD_HOURS, event.RAW, event.PARAMS})
# What cannot be mended by a field is left out.
_LEFT_OUT: Final = {
    "bad_deliver_at": event.DELIVER_AT,
    "bad_payload_hours": event.PAYLOAD_HOURS,
}
_EVENT_IDS: Final = (event.EVENT_ID, "ce-id")
_FIELD_OF: Final = {
    "bad_subject": "application",
    "bad_event_type": "eventType",
    "bad_event_id": "eventId",
    "bad_channels": "channels",
    "bad_tags": "tags",
    "bad_reference": "endpointId",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixes:
    """What a caller mends of an event: headers to set or (None) to leave out, another payload."""

    headers: Mapping[str, str | None]
    payload: bytes | None
    reason: str | None


async def read_fixes(request: Request) -> Fixes:
    """Read the fixes: `application`, `eventType`, `endpointId`, `payload`, `reason` and so on.

    Null for `eventId`, `channels`, `tags` or `endpointId` leaves out what the event had. The bytes
    of `payload` are taken as they are.

    Raises:
        Invalid: Fields are not as they must be.
    """
    body = await read_body(request)
    data, text, _ = parse_published(b"{}" if body.strip() in {b"", b"null"} else body)
    fields = Fields(data)
    reason = fields.optional_text("reason", max_length=_MAX_REASON)
    headers = _named(fields) | _listed(fields)
    fields.check()
    payload = None
    if fields.has("payload"):
        start, end = spans(text, ("payload",))["payload"]
        payload = body[start:end]
    return Fixes(headers=headers, payload=payload, reason=reason)


async def resubmit(given: Parts, caller: Caller, rejected: RejectedEvent, fixes: Fixes) -> None:
    """Publish an event that was rejected.

    Raises:
        Invalid: It would be rejected again.
        Conflict: Its event id is taken, or it was resubmitted meanwhile.
    """
    draft = _read(given, rejected, fixes)
    app = await _app(given, caller, draft)
    await _check_endpoint(given, app, draft)
    judged = await given.catalogue.judge(app.environment_id, _plain(draft))
    message, is_first = await _message(given, rejected, app, draft)
    given.limits.admit(app.id, 1)
    ack = await given.publisher.publish(_outgoing(message, draft, rejected))
    if ack.duplicate and (is_first or not await _is_there(given, message)):
        raise Conflict(TAKEN)
    given.limits.accepted(app.id, 1)
    if judged is not None:
        given.catalogue.note(judged, message.id)
    given.publisher.recent.add(message)
    async with given.transaction() as link:
        first = await store.resubmitted(
            link,
            rejected.id,
            message_id=message.id,
            app_id=app.id,
            at=given.clock(),
            key_id=caller.key_id,
        )
        if not first:
            raise Conflict("The event was resubmitted.")
        told = {"message": message.id, "app": app.id} | (
            {} if fixes.reason is None else {"reason": fixes.reason}
        )
        await trail.note(link, given, caller, "rejected_event.resubmit", rejected.id, **told)


def _read(given: Parts, rejected: RejectedEvent, fixes: Fixes) -> event.Draft:
    out = {*_OWN, _LEFT_OUT.get(rejected.reason)}
    headers = {name: str(value) for name, value in rejected.headers.items() if name not in out}
    if event.EVENT_ID in fixes.headers:
        headers = {name: value for name, value in headers.items() if name not in _EVENT_IDS}
    mended: dict[str, Any] = headers | dict(fixes.headers)
    read = event.read_event(
        event.Event(
            subject=rejected.subject,
            headers={name: value for name, value in mended.items() if value is not None},
            body=rejected.body if fixes.payload is None else fixes.payload,
            sequence=rejected.sequence,
            at=given.clock(),
        ),
        max_bytes=given.config.max_payload_bytes,
    )
    if isinstance(read, event.Rejection):
        field = _FIELD_OF.get(read.reason, "payload")
        raise Invalid([FieldFault(loc=("body", field), msg=f"{read.reason}: {read.detail}")])
    return read


def _plain(draft: event.Draft) -> drafts.Draft:
    return drafts.Draft(
        event_type=draft.event_type,
        event_id=draft.event_id,
        channels=draft.channels,
        tags=draft.tags,
        payload=draft.body,
    )


async def _app(given: Parts, caller: Caller, draft: event.Draft) -> App:
    try:
        return await given.apps.find(caller.environment_id, draft.app)
    except NotFound:
        hint = f"there is no application {draft.app}: name one"
        raise Invalid([FieldFault(loc=("body", "application"), msg=hint)]) from None


async def _check_endpoint(given: Parts, app: App, draft: event.Draft) -> None:
    if draft.endpoint_id is None:
        return
    async with given.connection() as link:
        found = await endpoint.find(link, app.id, draft.endpoint_id)
    if found is None:
        hint = "the app has no such endpoint: name one, or null for all that match"
        raise Invalid([FieldFault(loc=("body", "endpointId"), msg=hint)])


async def _message(
    given: Parts, rejected: RejectedEvent, app: App, draft: event.Draft
) -> tuple[Message, bool]:
    """Make the message that it is to become; say whether it was chosen now."""
    now = given.clock()
    made = ids.new_id(ids.MESSAGE, now, os.urandom(CHANCE_BYTES))
    async with given.connection() as link:
        chosen = await store.reserve(
            link,
            rejected.id,
            message_id=made,
            app_id=app.id,
            since=ids.first_id(ids.MESSAGE, now - _KEPT_TO),
        )
        if chosen is None:
            raise Conflict("The event was resubmitted.")
        if draft.event_id is not None:
            known = await messages.by_event_id(link, app.id, draft.event_id)
            if known is not None and known.id != chosen:
                raise Conflict(TAKEN)
    message = Message(
        app_id=app.id,
        id=chosen,
        event_type=draft.event_type,
        event_id=draft.event_id,
        channels=draft.channels,
        tags=draft.tags,
        payload=draft.body,
        content_type=draft.content_type,
        created_at=now,
        deliver_at=draft.deliver_at,
    )
    return message, chosen == made


def _outgoing(message: Message, draft: event.Draft, rejected: RejectedEvent) -> Outgoing:
    """Make the event anew; whom it is for, of which letter it is, and how it is kept stay so."""
    kept = _KEPT - {_LEFT_OUT.get(rejected.reason)}
    said = {
        **{name: str(value) for name, value in rejected.headers.items() if name in kept},
        event.CONTENT_TYPE: None if message.content_type == event.JSON else message.content_type,
        event.ENDPOINT: draft.endpoint_id,
        event.DEAD_LETTER: draft.letter_id,
    }
    headers = {name: value for name, value in said.items() if value is not None}
    return outgoing_of(message, headers)


async def _is_there(given: Parts, message: Message) -> bool:
    async with given.connection() as link:
        return await messages.by_id(link, message.app_id, message.id) is not None


def _named(fields: Fields) -> dict[str, str | None]:
    headers: dict[str, str | None] = {}
    for name, header, pattern in (
        ("application", event.APP, event.UID_PATTERN),
        ("eventType", event.EVENT_TYPE, event.EVENT_TYPE_PATTERN),
        ("eventId", event.EVENT_ID, event.UID_PATTERN),
        ("endpointId", event.ENDPOINT, event.UID_PATTERN),
    ):
        if fields.has(name):
            headers[header] = fields.optional_text(
                name, min_length=1, max_length=_MAX_LENGTH, pattern=pattern
            )
    return headers


def _listed(fields: Fields) -> dict[str, str | None]:
    headers: dict[str, str | None] = {}
    for name, header, pattern, most in (
        ("channels", event.CHANNELS, event.CHANNEL_PATTERN, event.MAX_CHANNELS),
        ("tags", event.TAGS, event.TAG_PATTERN, event.MAX_TAGS),
    ):
        if fields.has(name):
            given = fields.optional_texts(name, pattern=pattern, min_items=0, max_items=most)
            headers[header] = ",".join(given) if given else None
    return headers
