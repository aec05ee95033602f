"""What is counted at once: the attempts of an app by period, endpoints, and apps that have some.

Attempts come from the counts by the minute, which know no event types and nothing of what was
called off.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.parts import parts
from gateway.query import Query
from gateway.routing import AnyOperation, Operation
from schema.errors import BadState
from schema.store import statistics as store

PERIODS: Final = {
    "OneDay": timedelta(days=1),
    "OneHour": timedelta(hours=1),
    "FiveMinutes": timedelta(minutes=5),
}
MOST_PERIODS: Final = 2_016  # a week of five minutes
_USUAL: Final = "OneHour"
_SPAN: Final = timedelta(days=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_WITHOUT_PLAY: Final = "exclude_svix_play"
_RANGE: Final = "invalid_range"


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [
        Operation(
            method="GET",
            path="/api/v1/stats/app/{app_id}/attempt",
            access=Access.TENANT,
            handler=count_attempts,
        ),
        Operation(
            method="GET",
            path="/api/v1/stats/endpoint/count",
            access=Access.OPERATOR,
            handler=count_endpoints,
        ),
        Operation(
            method="GET",
            path="/api/v1/app/stats/count-active",
            access=Access.OPERATOR,
            handler=count_active,
        ),
    ]


async def count_attempts(request: Request, caller: Caller) -> Response:
    """Count the attempts for an app, in whole days, hours or five minutes of UTC."""
    given = parts(request)
    query = Query(request)
    name = query.choice("period", tuple(PERIODS)) or _USUAL
    since, until = _span(query.time("startDate"), query.time("endDate"), given.clock())
    if query.texts("event_types"):
        query.fault("event_types", "attempts are not counted by event type: leave it out")
    query.check()
    period = PERIODS[name]
    first = (since - _EPOCH) // period
    periods = -((_EPOCH - until) // period) - first
    if periods > MOST_PERIODS:
        raise BadState(
            f"That would be {periods} periods, {MOST_PERIODS} at most: ask for less time, or for"
            " a longer `period`.",
            _RANGE,
        )
    app = await resolve_app(request, caller)
    begin = _EPOCH + first * period
    async with given.connection() as link:
        counted = await store.attempted(link, app.id, since=begin, period=period, periods=periods)
    return answer(
        {
            "startDate": begin,
            "endDate": begin + periods * period,
            "period": name,
            "data": {
                "successCount": counted.delivered,
                "failureCount": counted.failed,
                "canceledCount": None,
            },
        }
    )


async def count_endpoints(request: Request, caller: Caller) -> Response:
    """Count the endpoints of the environment that are disabled, and that are not."""
    without_play = Query(request).boolean(_WITHOUT_PLAY, default=True)
    async with parts(request).connection() as link:
        found = await store.endpoints(link, caller.environment_id, without_play=without_play)
    return answer({"active": found.active, "disabled": found.disabled})


async def count_active(request: Request, caller: Caller) -> Response:
    """Count the apps of the environment that have an endpoint, one that is not disabled."""
    query = Query(request)
    without_play = query.boolean(_WITHOUT_PLAY, default=True)
    without_disabled = query.boolean("exclude_disabled", default=True)
    async with parts(request).connection() as link:
        count = await store.active_apps(
            link,
            caller.environment_id,
            without_play=without_play,
            without_disabled=without_disabled,
        )
    return answer({"count": count})


def _span(
    since: datetime | None, until: datetime | None, now: datetime
) -> tuple[datetime, datetime]:
    until = now if until is None else until
    if until > now:
        raise BadState("`endDate` lies in the future.", _RANGE)
    since = max(until, _EPOCH + _SPAN) - _SPAN if since is None else since
    if since > until:
        raise BadState("`startDate` must not be after `endDate`.", _RANGE)
    return since, until
