"""Dead letters: `/api/v1/app/{app_id}/dead-letter`, newest first.

A letter is shown as

    id, messageId, endpointId, eventType, eventId, channels
    state               parked, redelivering, redelivered or discarded
    reason              why the delivery was given up: exhausted, gone, endpoint_disabled,
                        endpoint_deleted, aborted or expired
    errorClass          why the last attempt failed: "http" if there was an answer, else the fault
    responseStatusCode  0 when there was no answer
    detail              one line about the fault
    fingerprint         equal for letters that failed alike
    url                 where the last attempt went
    attempts, firstAttemptAt, lastAttemptAt, lastAttemptId
    messageAt, parkedAt, updatedAt

and alone also with `payload` (`{"expired": true}` once expunged), `contentType` and `response`
(text, or base64 of what is not UTF-8). Lists take `state` (parked by default), `endpoint_id`,
`event_types`, `reason`, `status_code_class`, `fault`, `before` and `after` (when it was parked).
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.cursor import envelope
from gateway.parts import parts
from gateway.query import Query
from gateway.redeliver import redeliver as send_again
from gateway.routes.message import show_payload
from gateway.routing import AnyOperation, Operation
from gateway.status import as_text, read_code_class
from gateway.window import is_key, read_window_of
from schema import event, ids
from schema.app import App
from schema.dead_letter import DeadLetter, LetterState
from schema.delivery import Fault, Reason
from schema.errors import BadState, NotFound
from schema.store import dead_letter as store
from schema.store import endpoint as endpoints
from schema.store.link import Link

KIND: Final = "Dead letter"
ALL: Final = "/api/v1/app/{app_id}/dead-letter"
ONE: Final = f"{ALL}/{{letter_id}}"
_MAX_REASON: Final = 500


def routes() -> list[AnyOperation]:
    """List the operations on dead letters."""
    found = [
        ("GET", ALL, list_letters),
        ("GET", ONE, get),
        ("POST", f"{ONE}/redeliver", redeliver),
        ("POST", f"{ONE}/discard", discard),
    ]
    return [
        Operation(method=method, path=path, access=Access.TENANT, handler=handler)
        for method, path, handler in found
    ]


def show(letter: DeadLetter) -> dict[str, object]:
    """Give what lists show of a letter."""
    return {
        "id": letter.id,
        "messageId": letter.message_id,
        "endpointId": letter.endpoint_id,
        "eventType": letter.event_type,
        "eventId": letter.event_id,
        "channels": letter.channels,
        "state": letter.state,
        "reason": letter.reason,
        "errorClass": letter.fault or ("http" if letter.status is not None else None),
        "responseStatusCode": letter.status or 0,
        "detail": letter.detail,
        "fingerprint": letter.fingerprint,
        "url": letter.url,
        "attempts": letter.attempts,
        "firstAttemptAt": letter.first_attempt_at,
        "lastAttemptAt": letter.last_attempt_at,
        "lastAttemptId": letter.last_attempt_id,
        "messageAt": letter.message_at,
        "parkedAt": letter.parked_at,
        "updatedAt": letter.updated_at,
    }


async def list_letters(request: Request, caller: Caller) -> Response:
    """Give a page of the app's dead letters."""
    given = parts(request)
    query = Query(request)
    window = read_window_of(request, query, ids.DEAD_LETTER, limited=False)
    state = query.choice("state", tuple(LetterState))
    endpoint_ref = query.text("endpoint_id", pattern=event.UID_PATTERN)
    event_types = query.texts("event_types", pattern=event.EVENT_TYPE_PATTERN)
    reason = query.choice("reason", tuple(Reason))
    statuses = read_code_class(query)
    fault = query.choice("fault", tuple(Fault))
    query.check()
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        wanted = store.Filter(
            state=LetterState(state or LetterState.PARKED),
            endpoint_id=await _endpoint_id(link, app, endpoint_ref),
            event_types=event_types,
            reason=reason,
            statuses=statuses,
            fault=fault,
        )
        rows = await store.page(link, app.id, window.span, wanted)
    return answer(envelope(rows, window.page, lambda row: row.id, show))


async def get(request: Request, caller: Caller) -> Response:
    """Give a letter, whole."""
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        letter = await _find(link, request, app)
    whole = {
        "payload": show_payload(letter.payload),
        "contentType": letter.content_type,
        "response": None if letter.response is None else as_text(letter.response),
    }
    return answer(show(letter) | whole)


async def redeliver(request: Request, caller: Caller) -> Response:
    """Send a letter again, with its message id and history; one on its way is left alone."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        letter = await _find(link, request, app)
    await send_again(given, caller, app, letter)
    async with given.connection() as link:
        letter = await _find(link, request, app)
    return answer(show(letter), 202)


async def discard(request: Request, caller: Caller) -> Response:
    """Give a parked letter up; `reason` in the body goes into the audit trail."""
    given = parts(request)
    fields = await read_fields(request, optional=True)
    reason = fields.optional_text("reason", max_length=_MAX_REASON)
    fields.check()
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        letter = await _find(link, request, app)
        if not await store.discard(link, app.id, letter.id, given.clock()):
            raise BadState(f"The letter is {letter.state}: only a parked one can be discarded.")
        detail = {} if reason is None else {"reason": reason}
        await trail.note(link, given, caller, "dead_letter.discard", letter.id, **detail)
    return nothing()


async def _find(link: Link, request: Request, app: App) -> DeadLetter:
    ident: str = request.path_params["letter_id"]
    letter = None
    if is_key(ids.DEAD_LETTER, ident):
        letter = await store.by_id(link, app.id, ident)
    if letter is None:
        raise NotFound(KIND)
    return letter


async def _endpoint_id(link: Link, app: App, ref: str | None) -> str | None:
    """Find the endpoint of a filter; an id may be that of a deleted one."""
    if ref is None or is_key(ids.ENDPOINT, ref):
        return ref
    found = await endpoints.find(link, app.id, ref)
    if found is None:
        raise NotFound("Endpoint")
    return found.id
