"""Groups of dead letters, described."""

from typing import Final

from gateway.openapi.dead_letter import APP, ENDPOINT, REASON
from gateway.openapi.describe import PAGE, Resource, Said, choice, choices, done
from gateway.openapi.shape import COUNT, TEXT, TIME, about, many, maybe, page_of, ref, thing, word
from gateway.routes.dead_letter_group import ALL, EVERYWHERE, ONE
from schema.dead_letter import ErrorClass, GroupState

_QUERY: Final = (
    *PAGE,
    choices("state", tuple(GroupState)),
    ENDPOINT,
    choices("error_class", tuple(ErrorClass)),
    choice("order_by", ("lastSeen", "count")),
)

DEAD_LETTER_GROUP: Final = Resource(
    tag="Dead Letter Group",
    about="Dead letters of an endpoint that failed alike.",
    shapes={
        "DeadLetterGroup": thing(
            {
                "id": TEXT,
                "appId": TEXT,
                "endpointId": TEXT,
                "fingerprint": TEXT,
                "errorClass": word(ErrorClass),
                "responseStatusCode": about(COUNT, "0 when there was no answer."),
                "sampleLetterId": TEXT,
                "sampleDetail": TEXT,
                "sampleResponse": maybe(TEXT),
                "parked": about(COUNT, "How many are parked now."),
                "redelivering": about(COUNT, "How many are on their way now."),
                "total": about(COUNT, "How often one was parked."),
                "firstSeenAt": TIME,
                "lastSeenAt": TIME,
                "trend": about(many(COUNT), "Parked in each of the last 24 hours, this one last."),
                "state": word(GroupState),
                "stateAt": TIME,
                "stateBy": about(maybe(TEXT), "The key; null if by itself."),
                "snoozedUntil": maybe(TIME),
            }
        ),
        "DeadLetterGroupPatch": thing(
            {"state": word(GroupState)},
            {
                "snoozedUntil": about(maybe(TIME), "Goes with `snoozed`; within 366 days."),
                "reason": REASON,
            },
        ),
    },
    operations={
        f"GET {ALL}": Said(
            id="v1.application.dead-letter-group.list",
            summary="List the groups of letters that failed alike.",
            query=_QUERY,
            answers=done(page_of("DeadLetterGroup")),
        ),
        f"GET {ONE}": Said(
            id="v1.application.dead-letter-group.get",
            summary="Give a group.",
            answers=done(ref("DeadLetterGroup")),
        ),
        f"PATCH {ONE}": Said(
            id="v1.application.dead-letter-group.patch",
            summary="Acknowledge, snooze, resolve or reopen a group.",
            body=ref("DeadLetterGroupPatch"),
            answers=done(ref("DeadLetterGroup")),
        ),
        f"GET {EVERYWHERE}": Said(
            id="v1.dead-letter-group.list",
            summary="List the groups of all apps.",
            query=(*_QUERY, APP),
            answers=done(page_of("DeadLetterGroup")),
            errors=(404,),
        ),
    },
)
