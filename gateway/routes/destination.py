"""What became of a message at an endpoint: the messages of one, the endpoints of the other.

Beside Svix's fields a delivery shows ours: attempts, reason, lastStatusCode, lastAttemptAt and
deliveredAt; a message that was not attempted yet is listed, too, as pending.
"""

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.cursor import envelope, read_page
from gateway.locate import find_message
from gateway.parts import parts
from gateway.query import Query
from gateway.routes import message as messages
from gateway.routes.endpoint import find_endpoint
from gateway.routing import AnyOperation, Operation
from gateway.status import STATES_OF, Status, read_expanded, read_status, status_of
from gateway.window import is_key, plain, read_window_of
from schema import ids
from schema.delivery import State
from schema.endpoint import EndpointState
from schema.message import Message
from schema.store import delivery as store
from schema.store.delivery import Destination, Standing


def routes() -> list[AnyOperation]:
    """List the operations on deliveries."""
    found = [
        ("/api/v1/app/{app_id}/endpoint/{endpoint_id}/msg", list_messages),
        ("/api/v1/app/{app_id}/msg/{msg_id}/endpoint", list_destinations),
    ]
    return [
        Operation(method="GET", path=path, access=Access.TENANT, handler=handler)
        for path, handler in found
    ]


async def list_messages(request: Request, caller: Caller) -> Response:
    """Give a page of the messages that an endpoint got or is to get, newest first."""
    given = parts(request)
    query = Query(request)
    window = read_window_of(request, query, ids.MESSAGE)
    expanded = read_expanded(query)
    wanted = _read_filter(query, expanded=expanded)
    with_content = query.boolean("with_content", default=True)
    query.check()
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
        rows = await store.of_endpoint(
            link, app.id, endpoint.id, window.span, wanted, with_payload=with_content
        )

    def shown(row: tuple[Standing, Message]) -> dict[str, object]:
        standing, message = row
        line = messages.show(message, with_content=with_content) | _show_standing(
            standing, expanded=expanded
        )
        if standing.due_at is not None:
            line["nextAttempt"] = standing.due_at
        return line

    return answer(envelope(rows, window.page, lambda row: row[1].id, shown))


async def list_destinations(request: Request, caller: Caller) -> Response:
    """Give a page of the endpoints that a message was or is owed to, deleted ones too."""
    given = parts(request)
    page = read_page(request, default_ascending=True, check=lambda key: is_key(ids.ENDPOINT, key))
    expanded = Query(request).boolean("expanded_statuses", default=True)
    app = await resolve_app(request, caller)
    message = await find_message(given, app.id, request.path_params["msg_id"])
    async with given.connection() as link:
        rows = await store.of_message(link, app.id, message.id, plain(page))

    def shown(row: tuple[Standing, Destination]) -> dict[str, object]:
        standing, destination = row
        line = _show_destination(destination) | _show_standing(standing, expanded=expanded)
        return line | {"nextAttempt": standing.due_at}

    return answer(envelope(rows, page, lambda row: row[1].id, shown))


def _read_filter(query: Query, *, expanded: bool) -> store.Filter:
    status = read_status(query)
    states = None if status is None else STATES_OF[status]
    if status is Status.SUCCESS and not expanded:
        states = frozenset({State.DELIVERED, State.CANCELLED})
    return store.Filter(
        messages=messages.read_filter(query),
        states=states,
        attempted=status is Status.SENDING if status in {Status.PENDING, Status.SENDING} else None,
    )


def _show_standing(standing: Standing, *, expanded: bool) -> dict[str, object]:
    status = status_of(standing, expanded=expanded)
    return {
        "status": status,
        "statusText": status.word,
        "attempts": standing.attempts,
        "reason": standing.reason,
        "lastStatusCode": standing.last_status,
        "lastAttemptAt": standing.last_attempt_at,
        "deliveredAt": standing.delivered_at,
    }


def _show_destination(endpoint: Destination) -> dict[str, object]:
    return {
        "id": endpoint.id,
        "uid": endpoint.uid,
        "url": endpoint.url,
        "version": endpoint.version,
        "description": endpoint.description,
        "rateLimit": endpoint.throttle_rate,
        "throttleRate": endpoint.throttle_rate,
        "disabled": endpoint.state is EndpointState.DISABLED,
        "filterTypes": endpoint.event_types,
        "eventTypes": endpoint.event_types,
        "channels": endpoint.channels,
        "metadata": endpoint.metadata,
        "createdAt": endpoint.created_at,
        "updatedAt": endpoint.updated_at,
        "deletedAt": endpoint.deleted_at,
    }
