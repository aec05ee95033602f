"""What is counted at once: the attempts of an app, endpoints, and apps that have some.

Attempts come from the counts by the minute; by event type, from those by five minutes. Neither
knows anything of what was called off.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.parts import parts
from gateway.query import Query
from gateway.routing import AnyOperation, Operation
from schema.errors import BadState
from schema.event import EVENT_TYPE_PATTERN
from schema.store import statistics as store
from schema.store import type_count

PERIODS: Final = {
    "OneDay": timedelta(days=1),
    "OneHour": timedelta(hours=1),
    "FiveMinutes": timedelta(minutes=5),
}
MOST_PERIODS: Final = 2_016  # a week of five minutes
MOST_DAYS: Final = 31
MOST_TYPES: Final = 1_000  # told apart in an answer, or named in a request
OTHER: Final = "(other)"  # no event type has such a name
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
            path="/api/v1/app/{app_id}/stats/attempts",
            access=Access.TENANT,
            handler=count_by_type,
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
    names = ("startDate", "endDate")
    since, until = _span(query.time(names[0]), query.time(names[1]), given.clock(), names=names)
    wanted = _types(query)
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
        if wanted is None:
            counting = store.attempted
        else:
            counting = partial(type_count.by_period, event_types=wanted)
        counted = await counting(link, app.id, since=begin, period=period, periods=periods)
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


async def count_by_type(request: Request, caller: Caller) -> Response:
    """Count the attempts for an app by event type, in whole five minutes."""
    given = parts(request)
    query = Query(request)
    given_time = query.time("since"), query.time("until")
    wanted = _types(query)
    query.check()
    begin, end = _buckets(*_span(*given_time, given.clock(), names=("since", "until")))
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        found = await type_count.by_type(
            link, app.id, since=begin, until=end, event_types=wanted, most=MOST_TYPES
        )
    return answer(
        {
            "since": begin,
            "until": end,
            "total_success": sum(tried.delivered for tried in found.values()),
            "total_failure": sum(tried.failed for tried in found.values()),
            "total_canceled": 0,
            "by_event_type": {
                name or OTHER: {"success": tried.delivered, "failure": tried.failed, "canceled": 0}
                for name, tried in found.items()
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


def _types(query: Query) -> tuple[str, ...] | None:
    """Read which event types are counted; None is all. The caller checks the query."""
    wanted = query.texts("event_types", pattern=EVENT_TYPE_PATTERN)
    if wanted is not None and len(wanted) > MOST_TYPES:
        query.fault("event_types", f"at most {MOST_TYPES} expected")
    return wanted


def _buckets(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """Give where the buckets begin and end that a time touches.

    Raises:
        BadState: There are too many.
    """
    first = (since - _EPOCH) // type_count.BUCKET
    last = -((_EPOCH - until) // type_count.BUCKET)
    if (last - first) * type_count.BUCKET > timedelta(days=MOST_DAYS):
        raise BadState(f"At most {MOST_DAYS} days are counted at once.", _RANGE)
    return _EPOCH + first * type_count.BUCKET, _EPOCH + last * type_count.BUCKET


def _span(
    since: datetime | None, until: datetime | None, now: datetime, *, names: tuple[str, str]
) -> tuple[datetime, datetime]:
    """Give a time, by default the day before now.

    Raises:
        BadState: It lies in the future, or ends before it begins.
    """
    until = now if until is None else until
    if until > now:
        raise BadState(f"`{names[1]}` lies in the future.", _RANGE)
    since = max(until, _EPOCH + _SPAN) - _SPAN if since is None else since
    if since > until:
        raise BadState(f"`{names[0]}` must not be after `{names[1]}`.", _RANGE)
    return since, until
