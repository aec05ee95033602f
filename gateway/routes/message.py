"""Messages: `/api/v1/app/{app_id}/msg`.

A payload leaves as it came: its bytes stand in answers without being written anew. One that is no
object (a service may publish any JSON on NATS) is shown as `{"value": ...}`, as the SDKs expect an
object.
"""

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.accept import Door
from gateway.answer import answer, is_json
from gateway.appbook import KIND as APP_KIND
from gateway.auth import Access, Caller, need_scope, resolve_app
from gateway.body import Fields, parse_published, read_body, read_fields
from gateway.common import MAX_UID, read_metadata, read_rate
from gateway.cursor import envelope
from gateway.draft import read_draft
from gateway.idempotency import read_key
from gateway.locate import find_message
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.routing import AnyOperation, Operation
from gateway.window import read_window_of
from schema import event, ids
from schema.app import App
from schema.errors import Conflict, HooklineError, NotFound
from schema.message import Message
from schema.scope import Scope
from schema.store import app as apps
from schema.store import endpoint as endpoints
from schema.store import message as store

ALL: Final = "/api/v1/app/{app_id}/msg"
ONE: Final = "/api/v1/app/{app_id}/msg/{msg_id}"
_HIDDEN: Final[Mapping[str, Any]] = {}
_EXPUNGED: Final[Mapping[str, Any]] = {"expired": True}
_WHERE: Final = ("body", "application")
_ID_STEP_US: Final = 4_000  # ids tell times that far apart


def routes() -> list[AnyOperation]:
    """List the operations on messages."""
    return [
        Operation(
            method="POST",
            path=ALL,
            access=Access.PUBLISHER,
            handler=_Create(),
            knows_repeats=True,
        ),
        Operation(method="GET", path=ALL, access=Access.TENANT, handler=list_messages),
        Operation(method="GET", path=ONE, access=Access.TENANT, handler=get),
        Operation(
            method="POST",
            path=f"{ALL}/precheck/active",
            access=Access.OPERATOR,
            handler=precheck,
            writes=False,
        ),
    ]


def show(
    message: Message, *, with_content: bool, at: datetime | None = None, raw: bool = True
) -> dict[str, object]:
    """Give what the API shows of a message; its time is that of its id, as in the windows.

    Args:
        message: What is shown.
        with_content: Show the payload.
        at: The time of its id, if it is at hand.
        raw: The payload may be no JSON; that is looked at.
    """
    return {
        "id": message.id,
        "eventId": message.event_id,
        "eventType": message.event_type,
        "payload": show_payload(message.payload, raw=raw) if with_content else _HIDDEN,
        "channels": message.channels,
        "tags": message.tags,
        "timestamp": at or ids.time_of(message.id),
        "deliverAt": message.deliver_at,
    }


def _of_id(at: datetime) -> datetime:
    """Give the time that an id of this moment says."""
    return at.replace(microsecond=at.microsecond - at.microsecond % _ID_STEP_US)


def show_payload(payload: bytes | None, *, raw: bool = True) -> object:
    """Give the bytes of a payload as they are, to stand in an answer; what is no JSON as a text."""
    if payload is None:
        return _EXPUNGED
    if raw and not is_json(payload):
        return {"value": payload.decode(errors="replace")}
    plain = orjson.Fragment(payload)
    return plain if payload.lstrip()[:1] == b"{" else {"value": plain}


def read_filter(query: Query) -> store.Filter:
    """Read which messages a list is about."""
    return store.Filter(
        event_types=query.texts("event_types", pattern=event.EVENT_TYPE_PATTERN),
        channel=query.text("channel", pattern=event.CHANNEL_PATTERN),
        tag=query.text("tag", pattern=event.TAG_PATTERN),
    )


class _Create:
    """Accepts a message: 202 once the stream has it on disk."""

    def __init__(self) -> None:
        self._door = Door()

    async def __call__(self, request: Request, caller: Caller) -> Response:
        """Accept a message; with `application` in the body make its app first, if there is none."""
        metrics = parts(request).publisher.metrics
        started_s = asyncio.get_running_loop().time()
        try:
            response = await self._accept(request, caller)
        except HooklineError as error:
            metrics.refused.labels(error.code).inc()
            raise
        metrics.accept.observe(asyncio.get_running_loop().time() - started_s)
        return response

    async def _accept(self, request: Request, caller: Caller) -> Response:
        given = parts(request)
        with_content = Query(request).boolean("with_content", default=True)
        body = await read_body(request)
        published = parse_published(body)
        try:
            app = await resolve_app(request, caller)
        except NotFound:
            app = await make_app(request, caller, Fields(published.data))
        draft = read_draft(published, max_bytes=given.config.max_payload_bytes, now=given.clock())
        judged = await given.catalogue.judge(app.environment_id, draft)
        given.limits.admit(app.id, 1)
        message, repeated = await self._door.accept(given, app.id, draft, read_key(request, caller))
        if repeated:
            given.publisher.metrics.replayed_messages.inc()
            shown = show(message, with_content=with_content)
        else:
            given.publisher.metrics.accepted_by_http.inc()
            given.limits.accepted(app.id, 1)
            if judged is not None:
                given.catalogue.note(judged, message.id)
            shown = show(
                message, with_content=with_content, at=_of_id(message.created_at), raw=draft.is_raw
            )
        return answer(shown, 202, given.limits.headers(app.id))


async def list_messages(request: Request, caller: Caller) -> Response:
    """Give a page of the app's messages, newest first; this moment's may be missing."""
    given = parts(request)
    query = Query(request)
    window = read_window_of(request, query, ids.MESSAGE)
    wanted = read_filter(query)
    with_content = query.boolean("with_content", default=True)
    query.check()
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        rows = await store.page(link, app.id, window.span, wanted, with_payload=with_content)
    shown = envelope(
        rows, window.page, lambda row: row.id, lambda row: show(row, with_content=with_content)
    )
    return answer(shown)


async def get(request: Request, caller: Caller) -> Response:
    """Give a message by its id or event id, also one that was accepted just now."""
    with_content = Query(request).boolean("with_content", default=True)
    app = await resolve_app(request, caller)
    given = parts(request)
    message = await find_message(given, app.id, request.path_params["msg_id"])
    async with given.connection() as link:
        origin = await store.origin(link, app.id, message.id)
    made_of = None if origin is None else {"letterId": origin[0], "messageId": origin[1]}
    return answer(show(message, with_content=with_content) | {"madeOf": made_of})


async def precheck(request: Request, caller: Caller) -> Response:
    """Say whether any endpoint would get a message of an event type, with some channels."""
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    event_type = fields.text("eventType", min_length=1, pattern=event.EVENT_TYPE_PATTERN)
    channels = fields.optional_texts(
        "channels", pattern=event.CHANNEL_PATTERN, max_items=event.MAX_CHANNELS
    )
    fields.check()
    async with parts(request).connection() as link:
        active = await endpoints.takes(link, app.id, event_type, channels)
    return answer({"active": active})


async def make_app(request: Request, caller: Caller, fields: Fields) -> App:
    """Make the app that a path names by its uid, as the body describes it.

    Raises:
        NotFound: The body does not, or the caller has an app already, so this one is missing.
        Forbidden: The caller's key has scopes, and may not make apps.
    """
    given = parts(request)
    if fields.raw("application") is None or caller.app_id is not None:
        raise NotFound(APP_KIND)
    need_scope(caller, Scope.APPLICATION_WRITE)
    app = _read_app(given, caller, request.path_params["app_id"], fields.raw("application"))
    try:
        async with given.transaction() as link:
            await apps.insert(link, app)
            await trail.note(link, given, caller, "app.create", app.id)
    except Conflict:  # somebody made it in between
        return await resolve_app(request, caller)
    return app


def _read_app(given: Parts, caller: Caller, uid: str, described: object) -> App:
    fields = Fields(described, *_WHERE)
    now = given.clock()
    stated = fields.optional_text(
        "uid", min_length=1, max_length=MAX_UID, pattern=event.UID_PATTERN
    )
    if stated is None:
        fields.fault("uid", "is required here", fault_type="application_uid_missing")
    elif stated != uid:
        fields.fault("uid", "must be that of the path", fault_type="application_uid_mismatch")
    elif stated.startswith(ids.APP):
        fields.fault("uid", f"must not begin with {ids.APP}")
    app = App(
        environment_id=caller.environment_id,
        id=ids.new_id(ids.APP, now),
        uid=uid,
        name=fields.text("name", min_length=1),
        throttle_rate=read_rate(fields),
        retry_policy=None,
        metadata=read_metadata(fields),
        created_at=now,
        updated_at=now,
    )
    fields.check()
    return app
