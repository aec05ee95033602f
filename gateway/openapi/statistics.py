"""Statistics across apps, described."""

from typing import Final

from gateway.openapi.describe import Resource, Said
from gateway.openapi.shape import TEXT, TIME, many, maybe, ref, text, thing
from gateway.openapi.task import STARTED
from gateway.routes.statistics import MOST_APPS
from schema.event import UID_PATTERN

STATISTICS: Final = Resource(
    tag="Statistics",
    about="What is counted across apps, as background tasks.",
    shapes={
        "AppUsageStatsIn": thing(
            {"since": TIME, "until": TIME},
            {"appIds": maybe(many(text(pattern=UID_PATTERN), most=MOST_APPS))},
        ),
        "AppUsageStatsOut": thing({**STARTED, "unresolvedAppIds": many(TEXT)}),
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
    },
)
