"""Rejected events: `/api/v1/rejected-event`, newest first; for operators.

An event that could not become a message is shown as id, environmentId, app (as it was named),
subject, headers, reason, detail, sequence (in the stream) and createdAt; alone also with `body`,
and `bodyEncoding`: text or base64. Those of no environment are shown to keys of scope `*`. Lists
take `reason`, `before` and `after`.
"""

import base64
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.cursor import envelope
from gateway.parts import parts
from gateway.query import Query
from gateway.routing import AnyOperation, Operation
from gateway.window import is_key, read_window_of
from schema import ids
from schema.api_key import ALL_SCOPES
from schema.dead_letter import RejectedEvent
from schema.errors import NotFound
from schema.store import rejected_event as store

ALL: Final = "/api/v1/rejected-event"
ONE: Final = f"{ALL}/{{rejected_id}}"


def routes() -> list[AnyOperation]:
    """List the operations on rejected events."""
    return [
        Operation(method="GET", path=ALL, access=Access.OPERATOR, handler=list_rejected),
        Operation(method="GET", path=ONE, access=Access.OPERATOR, handler=get),
    ]


def show(rejected: RejectedEvent) -> dict[str, object]:
    """Give what lists show of a rejected event."""
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
    }


async def list_rejected(request: Request, caller: Caller) -> Response:
    """Give a page of what was rejected."""
    given = parts(request)
    query = Query(request)
    window = read_window_of(request, query, ids.REJECTED_EVENT, limited=False)
    reason = query.text("reason")
    query.check()
    async with given.connection() as link:
        rows = await store.page(
            link,
            caller.environment_id,
            window.span,
            also_stray=ALL_SCOPES in caller.scopes,
            reason=reason,
        )
    return answer(envelope(rows, window.page, lambda row: row.id, show))


async def get(request: Request, caller: Caller) -> Response:
    """Give a rejected event, whole."""
    ident: str = request.path_params["rejected_id"]
    found = None
    if is_key(ids.REJECTED_EVENT, ident):
        async with parts(request).connection() as link:
            found = await store.by_id(
                link, ident, caller.environment_id, also_stray=ALL_SCOPES in caller.scopes
            )
    if found is None:
        raise NotFound("Rejected event")
    return answer(show(found) | _body(found.body))


def _body(raw: bytes) -> dict[str, object]:
    try:
        return {"body": raw.decode(), "bodyEncoding": "text"}
    except UnicodeDecodeError:
        return {"body": base64.b64encode(raw).decode(), "bodyEncoding": "base64"}
