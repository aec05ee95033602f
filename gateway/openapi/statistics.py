"""Statistics, described."""

from typing import Final

from gateway.openapi.describe import Parameter, Resource, Said, choice, done, flag, moment
from gateway.openapi.shape import (
    COUNT,
    TEXT,
    TIME,
    about,
    many,
    maybe,
    named,
    ref,
    text,
    thing,
    word,
)
from gateway.openapi.task import STARTED
from gateway.routes.app_stats import MOST_TYPES, OTHER, PERIODS
from gateway.routes.statistics import MOST_APPS
from schema.event import EVENT_TYPE_PATTERN, UID_PATTERN

_COUNTS: Final = maybe(many(COUNT))
_EVENT_TYPES: Final = Parameter(
    name="event_types",
    shape=many(text(pattern=EVENT_TYPE_PATTERN), most=MOST_TYPES),
    about="Of these alone.",
)
_WITHOUT_PLAY: Final = flag("exclude_svix_play", "Without endpoints at Svix Play; so if absent.")

STATISTICS: Final = Resource(
    tag="Statistics",
    about="What is counted: at once, or across apps as background tasks.",
    shapes={
        "AppUsageStatsIn": thing(
            {"since": TIME, "until": TIME},
            {"appIds": maybe(many(text(pattern=UID_PATTERN), most=MOST_APPS))},
        ),
        "AppUsageStatsOut": thing({**STARTED, "unresolvedAppIds": many(TEXT)}),
        "AttemptStatisticsResponse": thing(
            {
                "startDate": TIME,
                "endDate": TIME,
                "period": word(PERIODS),
                "data": thing(
                    {"successCount": _COUNTS, "failureCount": _COUNTS, "canceledCount": _COUNTS}
                ),
            }
        ),
        "AppAttemptStatsOut": thing(
            {
                "since": TIME,
                "until": TIME,
                "total_success": COUNT,
                "total_failure": COUNT,
                "total_canceled": about(COUNT, "0: nothing that was called off is counted."),
                "by_event_type": about(
                    named(thing({"success": COUNT, "failure": COUNT, "canceled": COUNT})),
                    f"Those that were not told apart are `{OTHER}`.",
                ),
            }
        ),
        "EndpointCountOut": thing({"active": COUNT, "disabled": COUNT}),
        "ActiveAppCount": thing({"count": COUNT}),
    },
    operations={
        "POST /api/v1/stats/usage/app": Said(
            id="v1.statistics.aggregate-app-stats",
            summary="Have the attempts of a time counted for each app.",
            body=ref("AppUsageStatsIn"),
            answers={202: ref("AppUsageStatsOut")},
        ),
        "PUT /api/v1/stats/usage/event-types": Said(
            id="v1.statistics.aggregate-event-types",
            summary="Have the event types listed that the endpoints of each app ask for.",
            answers={202: ref("BackgroundTaskStarted")},
        ),
        "GET /api/v1/stats/app/{app_id}/attempt": Said(
            id="v1.stats.app-attempts",
            summary="Count the attempts for an app, by period.",
            query=(
                moment("startDate", "A day before the end if absent; its period counts whole."),
                moment("endDate", "Now if absent; its period counts whole."),
                choice("period", tuple(PERIODS), "Of UTC; an hour if absent."),
                _EVENT_TYPES,
            ),
            answers=done(ref("AttemptStatisticsResponse")),
        ),
        "GET /api/v1/app/{app_id}/stats/attempts": Said(
            id="v1.application.stats.attempts",
            summary="Count the attempts for an app, by event type.",
            query=(
                moment("since", "A day before the end if absent; its five minutes count whole."),
                moment("until", "Now if absent; its five minutes count whole."),
                _EVENT_TYPES,
            ),
            answers=done(ref("AppAttemptStatsOut")),
        ),
        "GET /api/v1/stats/endpoint/count": Said(
            id="v1.statistics.endpoint-count",
            summary="Count the endpoints that are disabled, and that are not.",
            query=(_WITHOUT_PLAY,),
            answers=done(ref("EndpointCountOut")),
        ),
        "GET /api/v1/app/stats/count-active": Said(
            id="v1.application.count-active",
            summary="Count the apps that have an active endpoint.",
            query=(
                _WITHOUT_PLAY,
                flag("exclude_disabled", "False: one of any kind is enough."),
            ),
            answers=done(ref("ActiveAppCount")),
        ),
    },
)
