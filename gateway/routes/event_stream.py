"""Messages as streams: an app's, `/api/v1/app/{app_id}/events`; what operators are told, `/events`.

Read as pollers are, up to the horizon, so that none is missed; but nothing of it is kept here: the
caller keeps the iterator.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.horizon import Horizon
from gateway.parts import parts
from gateway.query import Query
from gateway.routes.message import show
from gateway.routes.operational_webhook import of_operational_app
from gateway.routes.poller import place_of, read_limits
from gateway.routing import AnyOperation, Operation
from gateway.window import id_of
from schema import ids
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN
from schema.poller import Wanted
from schema.store import poller as store

_FIRST: Final = datetime.fromtimestamp(ids.EPOCH_S, UTC)  # no message is older


def routes(horizon: Horizon) -> list[AnyOperation]:
    """List the operations."""
    read = partial(stream, horizon)
    return [
        Operation(
            method="GET", path="/api/v1/app/{app_id}/events", access=Access.TENANT, handler=read
        ),
        Operation(
            method="GET",
            path="/api/v1/events",
            access=Access.OPERATOR,
            handler=of_operational_app(read),
        ),
    ]


async def stream(horizon: Horizon, request: Request, caller: Caller) -> Response:
    """Give the messages behind an iterator, the oldest first; from the oldest that is kept on."""
    given = parts(request)
    query = Query(request)
    limit, iterator = read_limits(query)
    wanted = Wanted(
        event_types=query.texts("event_types", pattern=EVENT_TYPE_PATTERN),
        channels=query.texts("channels", pattern=CHANNEL_PATTERN),
    )
    after = query.time("after")
    query.check()
    app = await resolve_app(request, caller)
    before = id_of(ids.MESSAGE, await horizon.read(given))
    behind = max(iterator or "", place_of(_FIRST if after is None else after))
    async with given.connection() as link:
        found = await store.read(link, app.id, wanted, behind=behind, before=before, most=limit)
    return answer(
        {
            "data": [show(message, with_content=True) for message in found.messages],
            "iterator": found.read_to or behind,
            "done": found.done,
        }
    )
