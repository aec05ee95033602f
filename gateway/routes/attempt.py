"""Attempts: `/api/v1/app/{app_id}/attempt/...`, newest first, and resending by hand.

Beside Svix's fields an attempt shows ours: number, eventType, verdict, fault, detail, nextAttempt,
phasesMs, address, reused, tls, truncated and responseHeaders.
"""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.cursor import envelope
from gateway.headers import unseal
from gateway.locate import find_message, find_stored
from gateway.parts import parts
from gateway.query import Query
from gateway.redeliver import resend as send_again
from gateway.routes import message as messages
from gateway.routes.endpoint import KIND as ENDPOINT_KIND
from gateway.routes.endpoint import find_endpoint
from gateway.routing import AnyOperation, Operation
from gateway.sent import answered, sent
from gateway.status import Status, as_text, read_code_class, read_status
from gateway.window import is_key, read_window_of
from schema import event, ids
from schema.api_key import Capability
from schema.app import App
from schema.errors import NotFound
from schema.message import Message
from schema.store import attempt as store
from schema.store import endpoint as endpoints
from schema.store import endpoint_oauth
from schema.store import message as message_store
from schema.store.attempt import Attempt
from schema.store.link import Link

KIND: Final = "Attempt"
_APP: Final = "/api/v1/app/{app_id}"
_MESSAGE: Final = f"{_APP}/msg/{{msg_id}}"
_ONE: Final = f"{_MESSAGE}/attempt/{{attempt_id}}"
_PHASES: Final = ("dns", "connect", "tls", "firstByte", "body")
MOST_COUNTED: Final = 10_000
_EXPUNGED: Final = "EXPUNGED"


def routes() -> list[AnyOperation]:
    """List the operations on attempts."""
    found = [
        (f"{_APP}/attempt/endpoint/{{endpoint_id}}", list_by_endpoint),
        (f"{_APP}/attempt/endpoint/{{endpoint_id}}/count", count_by_endpoint),
        (f"{_APP}/attempt/msg/{{msg_id}}", list_by_message),
        (f"{_MESSAGE}/attempt", list_by_message),
        (f"{_MESSAGE}/endpoint/{{endpoint_id}}/attempt", list_by_message),
        (_ONE, get),
        (f"{_ONE}/headers", get_headers),
    ]
    return [
        *(
            Operation(method="GET", path=path, access=Access.TENANT, handler=handler)
            for path, handler in found
        ),
        Operation(method="DELETE", path=f"{_ONE}/content", access=Access.OPERATOR, handler=expunge),
        Operation(
            method="POST",
            path=f"{_MESSAGE}/endpoint/{{endpoint_id}}/resend",
            access=Access.TENANT,
            handler=resend,
            capability=Capability.CREATE_ATTEMPTS,
        ),
    ]


def show(attempt: Attempt, *, with_content: bool) -> dict[str, object]:
    """Give what the API shows of an attempt."""
    status = Status.SUCCESS if attempt.delivered else Status.FAIL
    shown: dict[str, object] = {
        "id": attempt.id,
        "url": attempt.url,
        "response": _response(attempt) if with_content else "",
        "responseStatusCode": attempt.status or 0,
        "responseDurationMs": attempt.duration_ms,
        "status": status,
        "statusText": status.word,
        "triggerType": attempt.trigger,
        "msgId": attempt.message_id,
        "endpointId": attempt.endpoint_id,
        "timestamp": attempt.started_at,
        "number": attempt.number,
        "eventType": attempt.event_type,
        "verdict": attempt.verdict,
        "fault": attempt.fault,
        "detail": attempt.detail,
        "nextAttempt": attempt.next_attempt_at,
        "phasesMs": dict(zip(_PHASES, attempt.phases_ms, strict=False)),
        "address": attempt.address,
        "reused": attempt.reused,
        "tls": attempt.tls,
        "truncated": attempt.truncated,
    }
    if with_content:
        shown["responseHeaders"] = answered(attempt.response_headers)
    return shown


async def list_by_endpoint(request: Request, caller: Caller) -> Response:
    """Give a page of the attempts to an endpoint, newest first."""
    given = parts(request)
    query = Query(request)
    window = read_window_of(request, query, ids.ATTEMPT)
    wanted = _read_filter(query)
    with_content = query.boolean("with_content", default=True)
    with_message = query.boolean("with_msg", default=False)
    query.check()
    app = await resolve_app(request, caller)
    of_messages: dict[str, Message] = {}
    rows: list[Attempt] = []
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
        if wanted is not None:
            rows = await store.of_endpoint(
                link, app.id, endpoint.id, window.span, wanted, with_response=with_content
            )
        if with_message:
            of_messages = await message_store.named(link, app.id, {r.message_id for r in rows})

    def shown(attempt: Attempt) -> dict[str, object]:
        line = show(attempt, with_content=with_content)
        if with_message:
            of_it = of_messages.get(attempt.message_id)
            line["msg"] = None if of_it is None else messages.show(of_it, with_content=False)
        return line

    return answer(envelope(rows, window.page, lambda row: row.id, shown))


async def count_by_endpoint(request: Request, caller: Caller) -> Response:
    """Count the attempts to an endpoint that a list would hold, up to some thousand."""
    query = Query(request)
    window = read_window_of(request, query, ids.ATTEMPT)
    wanted = _read_filter(query)
    query.check()
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        endpoint = await find_endpoint(link, request, app)
        span = replace(window.span, limit=MOST_COUNTED + 1)
        found = 0
        if wanted is not None:
            found = await store.count(link, app.id, endpoint.id, span, wanted)
    return answer({"count": min(found, MOST_COUNTED), "approximated": found > MOST_COUNTED})


async def list_by_message(request: Request, caller: Caller) -> Response:
    """Give a page of the attempts to deliver a message, to one endpoint if so, newest first."""
    given = parts(request)
    query = Query(request)
    window = read_window_of(request, query, ids.ATTEMPT)
    wanted = _read_filter(query)
    endpoint_ref = request.path_params.get("endpoint_id") or query.text(
        "endpoint_id", pattern=event.UID_PATTERN
    )
    with_content = query.boolean("with_content", default=True)
    query.check()
    app = await resolve_app(request, caller)
    message = await find_message(given, app.id, request.path_params["msg_id"])
    rows: list[Attempt] = []
    if wanted is not None:
        async with given.connection() as link:
            if endpoint_ref is not None:
                wanted = await _narrowed(link, app, wanted, endpoint_ref)
            rows = await store.of_message(
                link, app.id, message.id, window.span, wanted, with_response=with_content
            )
    page = envelope(
        rows, window.page, lambda row: row.id, lambda row: show(row, with_content=with_content)
    )
    return answer(page)


async def get(request: Request, caller: Caller) -> Response:
    """Give an attempt."""
    _, found = await _named(request, caller)
    return answer(show(found, with_content=True))


async def get_headers(request: Request, caller: Caller) -> Response:
    """Give the headers of an attempt and of its answer, less what is secret."""
    given = parts(request)
    message, found = await _named(request, caller)
    async with given.connection() as link:
        endpoint = await endpoints.find(link, found.app_id, found.endpoint_id)
        oauth = await endpoint_oauth.find(link, found.app_id, found.endpoint_id)
    sealed = None if endpoint is None else endpoint.headers
    own = unseal(given.vault, found.app_id, found.endpoint_id, sealed)
    shown, sensitive = sent(
        found,
        message,
        own,
        svix_headers=given.config.svix_headers,
        has_token=oauth is not None,
    )
    return answer(
        {
            "sentHeaders": shown,
            "responseHeaders": answered(found.response_headers),
            "sensitive": sensitive,
        }
    )


async def expunge(request: Request, caller: Caller) -> Response:
    """Forget what the receiver answered."""
    given = parts(request)
    app = await resolve_app(request, caller)
    message = await find_message(given, app.id, request.path_params["msg_id"])
    ident: str = request.path_params["attempt_id"]
    if not is_key(ids.ATTEMPT, ident):
        raise NotFound(KIND)
    async with given.transaction() as link:
        if not await store.expunge(link, app.id, message.id, ident, given.clock()):
            raise NotFound(KIND)
        await trail.note(link, given, caller, "attempt.expunge", ident)
    return nothing()


async def resend(request: Request, caller: Caller) -> Response:
    """Send a message to an endpoint once more, or for the first time."""
    given = parts(request)
    app = await resolve_app(request, caller)
    message = await find_stored(given, app.id, request.path_params["msg_id"])
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
    await send_again(given, caller, app, message, endpoint)
    return answer({}, 202)


async def _named(request: Request, caller: Caller) -> tuple[Message, Attempt]:
    """Find the attempt that a path names, and its message."""
    given = parts(request)
    app = await resolve_app(request, caller)
    message = await find_message(given, app.id, request.path_params["msg_id"])
    ident: str = request.path_params["attempt_id"]
    found = None
    if is_key(ids.ATTEMPT, ident):
        async with given.connection() as link:
            found = await store.by_id(link, app.id, ident)
    if found is None or found.message_id != message.id:
        raise NotFound(KIND)
    return message, found


def _read_filter(query: Query) -> store.Filter | None:
    """Read which attempts a list is about; None if no attempt can be meant."""
    status = read_status(query)
    of_messages = messages.read_filter(query)
    wanted = store.Filter(
        event_types=of_messages.event_types,
        channel=of_messages.channel,
        tag=of_messages.tag,
        statuses=read_code_class(query),
        delivered=None if status is None else status is Status.SUCCESS,
    )
    return wanted if status in {None, Status.SUCCESS, Status.FAIL} else None


async def _narrowed(link: Link, app: App, wanted: store.Filter, ref: str) -> store.Filter:
    """Narrow a filter to an endpoint, by its id (of a deleted one, too) or uid."""
    endpoint_id = ref
    if not is_key(ids.ENDPOINT, ref):
        found = None
        if event.UID_PATTERN.match(ref):
            found = await endpoints.find(link, app.id, ref)
        if found is None:
            raise NotFound(ENDPOINT_KIND)
        endpoint_id = found.id
    return replace(wanted, endpoint_id=endpoint_id)


def _response(attempt: Attempt) -> str:
    if attempt.expunged_at is not None:
        return _EXPUNGED
    if attempt.response is not None:
        return as_text(attempt.response)
    return attempt.detail or attempt.fault or ""
