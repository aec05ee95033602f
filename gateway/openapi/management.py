"""Reconciliation, health and metrics, described."""

from typing import Final

from gateway.openapi.describe import (
    NOTHING,
    PAGE,
    WINDOW,
    Parameter,
    Resource,
    Said,
    done,
    flag,
)
from gateway.openapi.shape import (
    COUNT,
    FLAG,
    TEXT,
    TIME,
    about,
    maybe,
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from schema.event import UID_PATTERN
from schema.reconciliation import Terms

_PLAIN: Final = "text/plain"
_HEALTH: Final = thing({"status": word(("ok", "error"))}, {"detail": TEXT})

RECONCILIATION: Final = Resource(
    tag="Reconciliation",
    about="What was accepted against what became of it.",
    shapes={
        "ReconciledDay": thing(
            {
                "day": {"type": "string", "format": "date"},
                "appId": TEXT,
                "appUid": maybe(TEXT),
                "accepted": COUNT,
                **dict.fromkeys(Terms._fields, COUNT),
                "difference": about(whole(), "Not 0: something is wrong."),
                "countedAt": maybe(TIME),
                "closed": about(FLAG, "The day is over, and nothing was owed."),
            }
        ),
    },
    operations={
        "GET /api/v1/reconciliation": Said(
            id="v1.reconciliation.list",
            summary="List the days of all apps, newest first, with what became of what they sent.",
            query=(
                *PAGE,
                *WINDOW,
                Parameter(name="app_id", shape=text(pattern=UID_PATTERN), about="An id or uid."),
                flag("differing", "Only what does not add up."),
            ),
            answers=done(page_of("ReconciledDay")),
            errors=(404,),
        ),
    },
)

HEALTH: Final = Resource(
    tag="Health",
    about="Whether the gateway and what it stands on are well.",
    shapes={"HealthOut": thing({"database": _HEALTH, "queue": _HEALTH, "cache": _HEALTH})},
    operations={
        "GET /api/v1/health": Said(
            id="v1.health.get",
            summary="200 if Postgres and NATS answer, else 503.",
            answers={200: ref("HealthOut"), 503: ref("HealthOut")},
        ),
        "GET /api/v1/health/ping": Said(
            id="v1.health.ping", summary="The process answers.", answers=NOTHING
        ),
        "GET /metrics": Said(
            id="metrics", summary="Metrics, for Prometheus.", answers=done(TEXT), media=_PLAIN
        ),
    },
)
