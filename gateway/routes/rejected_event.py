"""Rejected events: `/api/v1/rejected-event`, newest first; for operators.

An event that could not become a message is shown as id, environmentId, app (as it was named),
subject, headers, reason, detail, sequence (in the stream), createdAt, state (rejected, resubmitted
or discarded), stateAt, stateBy (the key), and once resubmitted appId and messageId: what it became;
alone also with `body`, and `bodyEncoding`: text or base64. Those of no environment are shown to
keys of scope `*`. Lists and counts take `state` (rejected by default), `reason`, `app` (as it was
named), `before` and `after`.
"""

import base64
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.body import read_fields
from gateway.cursor import envelope
from gateway.parts import parts
from gateway.query import Query
from gateway.resubmit import read_fixes, resubmit
from gateway.routing import AnyOperation, Operation
from gateway.window import is_key, read_window_of
from schema import ids
from schema.dead_letter import RejectedEvent, RejectedState
from schema.errors import Conflict, NotFound
from schema.scope import ALL_SCOPES
from schema.store import rejected_event as store
from schema.store.link import Link
from schema.store.rejected_event import RejectedFilter
from schema.store.span import Span

ALL: Final = "/api/v1/rejected-event"
ONE: Final = f"{ALL}/{{rejected_id}}"
MOST_COUNTED: Final = 100_000
_MAX_REASON: Final = 500


def routes() -> list[AnyOperation]:
    """List the operations on rejected events."""
    found = [
        ("GET", ALL, list_rejected),
        ("GET", f"{ALL}/count", count),
        ("GET", ONE, get),
        ("POST", f"{ONE}/discard", discard),
        ("POST", f"{ONE}/resubmit", submit_again),
    ]
    return [
        Operation(method=method, path=path, access=Access.OPERATOR, handler=handler)
        for method, path, handler in found
    ]


def show(rejected: RejectedEvent) -> dict[str, object]:
    """Give what lists show of a rejected event."""
    became = rejected.state is RejectedState.RESUBMITTED
    return {
        "id": rejected.id,
        "environmentId": rejected.environment_id,
        "app": rejected.app,
        "subject": rejected.subject,
        "headers": rejected.headers,
        "reason": rejected.reason,
        "detail": rejected.detail,
        "sequence": rejected.sequence,
        "createdAt": rejected.created_at,
        "state": rejected.state,
        "stateAt": rejected.state_at,
        "stateBy": rejected.state_by,
        "appId": rejected.app_id if became else None,
        "messageId": rejected.message_id if became else None,
    }


async def list_rejected(request: Request, caller: Caller) -> Response:
    """Give a page of what was rejected."""
    query = Query(request)
    window = read_window_of(request, query, ids.REJECTED_EVENT, limited=False)
    wanted = _read_filter(query, caller)
    async with parts(request).connection() as link:
        rows = await store.page(link, wanted, window.span)
    return answer(envelope(rows, window.page, lambda row: row.id, show))


async def count(request: Request, caller: Caller) -> Response:
    """Count what was rejected, exactly up to a limit."""
    query = Query(request)
    span = read_window_of(request, query, ids.REJECTED_EVENT, limited=False).span
    wanted = _read_filter(query, caller)
    span = Span(low=span.low, high=span.high, up=span.up, limit=MOST_COUNTED + 1)
    async with parts(request).connection() as link:
        number = await store.count(link, wanted, span)
    return answer({"count": min(number, MOST_COUNTED), "atLeast": number > MOST_COUNTED})


async def get(request: Request, caller: Caller) -> Response:
    """Give a rejected event, whole."""
    async with parts(request).connection() as link:
        found = await _find(link, request, caller)
    return answer(show(found) | _body(found.body))


async def discard(request: Request, caller: Caller) -> Response:
    """Give one up; `reason` in the body goes into the audit trail."""
    given = parts(request)
    fields = await read_fields(request, optional=True)
    reason = fields.optional_text("reason", max_length=_MAX_REASON)
    fields.check()
    async with given.transaction() as link:
        found = await _find(link, request, caller)
        if not await store.discard(link, found.id, at=given.clock(), key_id=caller.key_id):
            raise Conflict(f"The event is {found.state}: only a rejected one can be discarded.")
        detail = {} if reason is None else {"reason": reason}
        await trail.note(link, given, caller, "rejected_event.discard", found.id, **detail)
    return nothing()


async def submit_again(request: Request, caller: Caller) -> Response:
    """Publish one with what the body mends of it: 202 once the stream has the message on disk."""
    given = parts(request)
    fixes = await read_fixes(request)
    async with given.connection() as link:
        found = await _find(link, request, caller)
    if found.state is RejectedState.RESUBMITTED:
        raise Conflict("The event was resubmitted.")
    await resubmit(given, caller, found, fixes)
    async with given.connection() as link:
        found = await _find(link, request, caller)
    return answer(show(found), 202)


def _read_filter(query: Query, caller: Caller) -> RejectedFilter:
    state = query.choice("state", tuple(RejectedState))
    wanted = RejectedFilter(
        environment_id=caller.environment_id,
        also_stray=ALL_SCOPES in caller.scopes,
        state=RejectedState(state or RejectedState.REJECTED),
        reason=query.text("reason"),
        app=query.text("app"),
    )
    query.check()
    return wanted


async def _find(link: Link, request: Request, caller: Caller) -> RejectedEvent:
    ident: str = request.path_params["rejected_id"]
    found = None
    if is_key(ids.REJECTED_EVENT, ident):
        also_stray = ALL_SCOPES in caller.scopes
        found = await store.by_id(link, ident, caller.environment_id, also_stray=also_stray)
    if found is None:
        raise NotFound("Rejected event")
    return found


def _body(raw: bytes) -> dict[str, object]:
    try:
        return {"body": raw.decode(), "bodyEncoding": "text"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(raw).decode(), "bodyEncoding": "base64"}
