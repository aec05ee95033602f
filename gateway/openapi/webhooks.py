"""The operational events, described as webhooks: what operators' endpoints are sent."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.openapi.operational import ALERT, RULE
from gateway.openapi.shape import (
    ANYTHING,
    COUNT,
    FLAG,
    TEXT,
    TIME,
    Shape,
    about,
    many,
    maybe,
    thing,
    word,
)
from schema.dead_letter import ErrorClass
from schema.health import HealthState
from schema.operational import Kind
from schema.task import TaskKind

_APP: Final = {"appId": TEXT, "appUid": maybe(TEXT)}
_ENDPOINT: Final = {**_APP, "endpointId": TEXT, "endpointUid": maybe(TEXT)}
_DISABLED: Final = {
    **_ENDPOINT,
    "trigger": word(("manual", "automatic")),
    "reason": TEXT,
    "failSince": maybe(TIME),
}
_FAILING: Final = {
    **_ENDPOINT,
    "failSince": maybe(TIME),
    "failures": COUNT,
    "disableAt": maybe(TIME),
}
_ATTEMPT: Final = {
    **_ENDPOINT,
    "msgId": TEXT,
    "msgEventId": maybe(TEXT),
    "lastAttempt": thing({"id": TEXT, "responseStatusCode": COUNT, "timestamp": TIME}),
}
# Of the log, `data` is an array of these.
_LINE: Final = {
    "orgId": TEXT,
    "appId": TEXT,
    "appUid": maybe(TEXT),
    "endpointId": TEXT,
    "eventType": TEXT,
    "msgId": TEXT,
    "msgEventId": maybe(TEXT),
    "msgCreated": TIME,
    "attemptId": TEXT,
    "attemptCount": COUNT,
    "attemptStart": TIME,
    "attemptEnd": TIME,
    "httpTimes": maybe(thing({"start": TIME, "end": TIME})),
    "responseStatusCode": about(COUNT, "0 without an answer."),
    "status": about(COUNT, "0 delivered, 2 failed."),
}
_GROUP: Final = {
    **_ENDPOINT,
    "groupId": TEXT,
    "letterId": TEXT,
    "errorClass": word(ErrorClass),
    "responseStatusCode": COUNT,
    "reopened": FLAG,
    "firstSeenAt": TIME,
}
_TASK: Final = {
    "taskId": TEXT,
    "task": word(TaskKind),
    "status": word(("finished", "failed")),
    "data": about(
        ANYTHING, "`messagesSent`, and the messages that were made; or what was counted."
    ),
}
_ALERT: Final = {
    "rule": thing(RULE),
    "raised": about(COUNT, "For how many it is told that it began."),
    "cleared": about(COUNT, "For how many it is told that it is over."),
    "open": about(COUNT, "For how many it is raised now."),
    "at": TIME,
    "alerts": many(ALERT),
}
_DIGEST: Final = {
    "appId": maybe(TEXT),
    "appUid": maybe(TEXT),
    "since": TIME,
    "until": TIME,
    "suppressed": COUNT,
    "events": many(thing({"type": TEXT, "key": TEXT, "count": COUNT})),
}
EVENTS: Final[Mapping[Kind, tuple[str, Mapping[str, Shape]]]] = {
    Kind.ENDPOINT_CREATED: ("An endpoint was made.", _ENDPOINT),
    Kind.ENDPOINT_UPDATED: ("An endpoint was changed.", _ENDPOINT),
    Kind.ENDPOINT_DELETED: ("An endpoint was deleted.", _ENDPOINT),
    Kind.ENDPOINT_ENABLED: ("An endpoint was enabled.", _ENDPOINT),
    Kind.ENDPOINT_DISABLED: ("An endpoint was disabled, by whomever.", _DISABLED),
    Kind.ENDPOINT_FAILING: ("Nothing has arrived for five minutes or more.", _FAILING),
    Kind.ENDPOINT_RECOVERED: (
        "One that was failing took a message.",
        {**_ENDPOINT, "failSince": maybe(TIME), "state": word(HealthState)},
    ),
    Kind.ENDPOINT_DISABLING: ("One that goes on failing will be disabled.", _FAILING),
    Kind.ATTEMPT_FAILING: ("The fourth attempt in a row failed.", _ATTEMPT),
    Kind.ATTEMPT_EXHAUSTED: ("The delivery is a dead letter.", _ATTEMPT),
    Kind.ATTEMPT_RECOVERED: ("An attempt succeeded after four failures or more.", _ATTEMPT),
    Kind.ATTEMPT_LOG: ("Attempts were made; sent to who names it, many at once.", _LINE),
    Kind.TASK_FINISHED: ("A task ended, but by request.", _TASK),
    Kind.GROUP_OPENED: ("A group of dead letters got its first letter.", _GROUP),
    Kind.ALERT_RAISED: ("An alert rule holds.", _ALERT),
    Kind.ALERT_UPDATED: ("A rule that is raised holds for others too.", _ALERT),
    Kind.ALERT_CLEARED: ("A rule holds for nobody any more.", _ALERT),
    Kind.DIGEST: ("Of some events there were too many.", _DIGEST),
}
TAG: Final = "Operational Webhook"


def webhooks() -> dict[str, Any]:
    """Give the webhooks of the document."""
    return {str(kind): _webhook(kind, *said) for kind, said in EVENTS.items()}


def _webhook(kind: Kind, summary: str, data: Mapping[str, Shape]) -> dict[str, Any]:
    body = thing(
        {
            "type": {"const": str(kind)},
            "timestamp": TIME,
            "data": many(thing(data)) if kind is Kind.ATTEMPT_LOG else thing(data),
        }
    )
    return {
        "post": {
            "operationId": str(kind),
            "tags": [TAG],
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
            "responses": {"2XX": {"description": "Taken; any other answer is tried again."}},
            "security": [],
        }
    }
