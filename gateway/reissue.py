"""Makes a new message of a dead letter, with what was wrong with it changed.

The message that died stays as it is, and so does its letter. The new one is published like any
other, for the letter's endpoint or another one alone; the event says so, and of which letter it was
made, so that the intake stores that with the message.
"""

import os
from dataclasses import dataclass, replace
from typing import Final

from starlette.requests import Request

from gateway import trail
from gateway.accept import CHANCE_BYTES, TAKEN, message_of, outgoing_of
from gateway.auth import Caller
from gateway.body import Fields, parse_published, read_body
from gateway.draft import Draft, read_event_id
from gateway.parts import Parts
from gateway.redeliver import check_open, no_payload
from gateway.splice import spans
from schema import event
from schema.app import App
from schema.dead_letter import DeadLetter
from schema.endpoint import Endpoint
from schema.errors import BadState, Conflict, FieldFault, Invalid, TooLarge
from schema.message import Message
from schema.store import endpoint
from schema.store import message as messages

_MAX_REASON: Final = 500
_MAX_LENGTH: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is to differ from the letter. None leaves a field as it was; `event_id` was the other's.

    Attributes:
        channels: Empty: none.
        endpoint: An id or uid.
        reason: For the audit trail.
    """

    payload: bytes | None
    event_type: str | None
    event_id: str | None
    channels: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    endpoint: str | None
    reason: str | None


async def read_edit(request: Request) -> Edit:
    """Read `payload`, `eventType`, `eventId`, `channels`, `tags`, `endpointId` and `reason`.

    The bytes of `payload` are taken as they are.

    Raises:
        Invalid: Fields are not as they must be.
    """
    body = await read_body(request)
    data, text, _ = parse_published(b"{}" if body.strip() in {b"", b"null"} else body)
    fields = Fields(data)
    edit = Edit(
        payload=None,
        event_type=fields.optional_text(
            "eventType", min_length=1, max_length=_MAX_LENGTH, pattern=event.EVENT_TYPE_PATTERN
        ),
        event_id=read_event_id(fields),
        channels=fields.optional_texts(
            "channels", pattern=event.CHANNEL_PATTERN, min_items=0, max_items=event.MAX_CHANNELS
        ),
        tags=fields.optional_texts(
            "tags", pattern=event.TAG_PATTERN, min_items=0, max_items=event.MAX_TAGS
        ),
        endpoint=fields.optional_text(
            "endpointId", min_length=1, max_length=_MAX_LENGTH, pattern=event.UID_PATTERN
        ),
        reason=fields.optional_text("reason", max_length=_MAX_REASON),
    )
    fields.check()
    if fields.has("payload"):
        start, end = spans(text, ("payload",))["payload"]
        edit = replace(edit, payload=body[start:end])
    return edit


async def reissue(
    given: Parts, caller: Caller, app: App, letter: DeadLetter, edit: Edit
) -> tuple[Message, Endpoint]:
    """Publish a message made of a letter; give it, and the endpoint that it is for.

    Raises:
        BadState: There is no payload, or the endpoint is disabled or was deleted.
        Invalid: The body names an endpoint that is not there, or the payload is not as the schema
            of its event type says.
        TooLarge: The payload is larger than the limit.
        Conflict: The event id is taken.
    """
    draft = _draft(letter, edit)
    if len(draft.payload) > given.config.max_payload_bytes:
        raise TooLarge(given.config.max_payload_bytes)
    judged = await given.catalogue.judge(app.environment_id, draft)
    target = await _target(given, app, letter, edit)
    await _check_event_id(given, app, draft.event_id)
    given.limits.admit(app.id, 1)
    made = message_of(app.id, draft, given.clock(), os.urandom(CHANCE_BYTES))
    message = replace(made, content_type=letter.content_type or event.JSON)
    await _publish(given, message, letter, target)
    given.limits.accepted(app.id, 1)
    if judged is not None:
        given.catalogue.note(judged, message.id)
    told = {"message": message.id, "endpoint": target.id} | (
        {} if edit.reason is None else {"reason": edit.reason}
    )
    async with given.transaction() as link:
        await trail.note(link, given, caller, "dead_letter.reissue", letter.id, **told)
    return message, target


async def _publish(given: Parts, message: Message, letter: DeadLetter, target: Endpoint) -> None:
    headers = {event.ENDPOINT: target.id, event.DEAD_LETTER: letter.id}
    if message.content_type != event.JSON:
        headers[event.CONTENT_TYPE] = message.content_type
    ack = await given.publisher.publish(outgoing_of(message, headers))
    if ack.duplicate:
        raise Conflict(TAKEN)
    given.publisher.recent.add(message)


def _draft(letter: DeadLetter, edit: Edit) -> Draft:
    payload = letter.payload if edit.payload is None else edit.payload
    if payload is None:
        raise no_payload()
    return Draft(
        event_type=edit.event_type or letter.event_type,
        event_id=edit.event_id,
        channels=(letter.channels if edit.channels is None else edit.channels) or None,
        tags=edit.tags or None,
        payload=payload,
    )


async def _target(given: Parts, app: App, letter: DeadLetter, edit: Edit) -> Endpoint:
    async with given.connection() as link:
        target = await endpoint.find(link, app.id, edit.endpoint or letter.endpoint_id)
    if target is None and edit.endpoint is not None:
        hint = "the app has no such endpoint"
        raise Invalid([FieldFault(loc=("body", "endpointId"), msg=hint)])
    if target is None:
        raise BadState(
            "The endpoint was deleted: name another one as endpointId.", code="endpoint_deleted"
        )
    check_open(target)
    return target


async def _check_event_id(given: Parts, app: App, event_id: str | None) -> None:
    if event_id is None:
        return
    async with given.connection() as link:
        known = await messages.by_event_id(link, app.id, event_id)
    if known is not None or given.publisher.recent.get(app.id, event_id) is not None:
        raise Conflict(TAKEN)
