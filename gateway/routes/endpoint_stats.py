"""How an endpoint has fared: `.../endpoint/{endpoint_id}/stats`."""

from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.parts import parts
from gateway.query import Query
from gateway.routes.endpoint import ONE, find_endpoint
from gateway.routing import AnyOperation, Operation
from schema.errors import BadState
from schema.ids import EPOCH_S, shard_of
from schema.store import endpoint as store

_WINDOW: Final = timedelta(days=28)
_FIRST: Final = datetime.fromtimestamp(EPOCH_S, UTC) + _WINDOW  # nothing is as old
_NEARLY_HOUR: Final = timedelta(hours=1) - timedelta(microseconds=1)
_SLACK: Final = timedelta(minutes=5)


def routes() -> list[AnyOperation]:
    """List the operations on an endpoint's numbers."""
    return [
        Operation(method="GET", path=f"{ONE}/stats", access=Access.TENANT, handler=get),
        Operation(
            method="GET", path=f"{ONE}/attempt-stats", access=Access.TENANT, handler=get_attempts
        ),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Count attempts by how they ended, what is owed, and what was called off."""
    counts = await _count(request, caller)
    return answer(
        {
            "success": counts.delivered,
            "pending": counts.pending,
            "sending": counts.retrying,
            "fail": counts.failed,
            "canceled": counts.cancelled,
        }
    )


async def get_attempts(request: Request, caller: Caller) -> Response:
    """Count attempts by how they ended, and what was called off, in whole hours."""
    counts = await _count(request, caller, whole_hours=True)
    return answer(
        {"success": counts.delivered, "fail": counts.failed, "canceled": counts.cancelled}
    )


async def _count(request: Request, caller: Caller, *, whole_hours: bool = False) -> store.Counts:
    given = parts(request)
    query = Query(request)
    since, until = _window(query.time("since"), query.time("until"), given.clock())
    if whole_hours:
        since, until = _hour(since), _hour(until + _NEARLY_HOUR)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
        shard = shard_of(app.id, given.config.shards)
        return await store.count(link, endpoint, shard=shard, since=since, until=until)


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def _window(
    since: datetime | None, until: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    until = now if until is None else max(until, _FIRST)
    since = max(until - _WINDOW if since is None else since, _FIRST)
    if until > now:
        raise BadState("`until` lies in the future.", code="invalid_range")
    if not timedelta() <= until - since <= _WINDOW + _SLACK:
        raise BadState("`since` must be 0 to 28 days before `until`.", code="invalid_range")
    return since, until
