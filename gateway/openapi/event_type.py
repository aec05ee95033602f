"""Event types, described."""

from typing import Final

from gateway.openapi.application import POLICY, WAITS
from gateway.openapi.describe import NOTHING, PAGE, Resource, Said, done, flag
from gateway.openapi.shape import (
    COUNT,
    DOCUMENT,
    FLAG,
    TEXT,
    TIME,
    about,
    many,
    maybe,
    named,
    old,
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes.retry_schedule import NANOS
from schema.event import EVENT_TYPE_PATTERN
from schema.event_type import SchemaMode
from schema.retry import MAX_ATTEMPTS, MAX_WAIT_S

_ALL: Final = "/api/v1/event-type"
_ONE: Final = f"{_ALL}/{{event_type_name}}"
_NAME: Final = text(pattern=EVENT_TYPE_PATTERN)
_SCHEMAS: Final = about(maybe(named(DOCUMENT)), "JSON Schemas (draft 7) of payloads, by version.")
_MAY: Final = {
    "archived": FLAG,
    "deprecated": FLAG,
    "schemas": _SCHEMAS,
    "groupName": maybe(_NAME),
    "featureFlags": maybe(many(_NAME, least=1)),
    "featureFlag": old(maybe(_NAME), "featureFlags"),
    "schemaMode": maybe(word(SchemaMode)),
    "schemaVersion": maybe(text(least=1, most=256)),
    "retryPolicy": POLICY,
}
_NEWS: Final = maybe(
    many(
        thing(
            {
                "name": TEXT,
                "description": TEXT,
                "schemas": _SCHEMAS,
                "deprecated": FLAG,
                "groupName": maybe(TEXT),
                "featureFlags": maybe(many(TEXT)),
                "archived": FLAG,
            }
        )
    )
)

EVENT_TYPE: Final = Resource(
    tag="Event Type",
    about="What kinds of events there are.",
    shapes={
        "EventTypeOut": thing(
            {
                "name": TEXT,
                "description": TEXT,
                "schemas": _SCHEMAS,
                "archived": FLAG,
                "deprecated": FLAG,
                "groupName": maybe(TEXT),
                "featureFlags": maybe(many(TEXT)),
                "featureFlag": old(maybe(TEXT), "featureFlags"),
                "schemaMode": about(word(SchemaMode), "What becomes of payloads that do not fit."),
                "schemaVersion": maybe(TEXT),
                "retryPolicy": WAITS,
                "createdAt": TIME,
                "updatedAt": TIME,
            }
        ),
        "EventTypeImported": thing({"data": thing({"modified": many(TEXT), "to_modify": _NEWS})}),
        "EventTypeImportOpenApiIn": thing(
            {},
            {
                "spec": about(maybe(DOCUMENT), "An OpenAPI description; or `specRaw`, as text."),
                "specRaw": maybe(TEXT),
                "dryRun": about(FLAG, "Say what would be done, and do nothing."),
                "replaceAll": about(FLAG, "Archive what the description does not have."),
            },
        ),
        "SchemaFault": thing(
            {
                "pointer": about(TEXT, "Where in the payload."),
                "rule": TEXT,
                "detail": TEXT,
                "schemaVersion": TEXT,
                "schemaMode": word(SchemaMode),
                "times": COUNT,
                "firstAt": TIME,
                "lastAt": TIME,
                "messageId": maybe(TEXT),
            }
        ),
        "RetryScheduleInOut": thing(
            {},
            {
                "retrySchedule": about(
                    maybe(
                        many(
                            thing(
                                {
                                    "secs": whole(0, int(MAX_WAIT_S)),
                                    "nanos": whole(0, NANOS - 1),
                                }
                            ),
                            most=MAX_ATTEMPTS - 1,
                        )
                    ),
                    "How long to wait before each retry; null is the policy of the app.",
                )
            },
        ),
        "EventTypeIn": thing({"name": _NAME, "description": TEXT}, _MAY),
        "EventTypeUpdate": thing({"description": TEXT}, _MAY),
        "EventTypePatch": thing({}, {"description": TEXT, **_MAY}),
    },
    operations={
        f"GET {_ALL}": Said(
            id="v1.event-type.list",
            summary="List the event types.",
            query=(
                *PAGE,
                flag("include_archived"),
                flag("with_content", "Whether schemas are shown."),
            ),
            answers=done(page_of("EventTypeOut")),
        ),
        f"POST {_ALL}": Said(
            id="v1.event-type.create",
            summary="Make an event type, or bring back an archived one with what the body says.",
            body=ref("EventTypeIn"),
            answers={201: ref("EventTypeOut")},
        ),
        f"GET {_ONE}": Said(
            id="v1.event-type.get",
            summary="Give an event type, archived or not.",
            answers=done(ref("EventTypeOut")),
        ),
        f"PUT {_ONE}": Said(
            id="v1.event-type.upsert",
            summary="Replace an event type, or make one.",
            body=ref("EventTypeUpdate"),
            answers={200: ref("EventTypeOut"), 201: ref("EventTypeOut")},
        ),
        f"PATCH {_ONE}": Said(
            id="v1.event-type.patch",
            summary="Change what the body names; null clears.",
            body=ref("EventTypePatch"),
            answers=done(ref("EventTypeOut")),
        ),
        f"POST {_ALL}/import/openapi": Said(
            id="v1.event-type.import-openapi",
            summary="Make and change event types as an OpenAPI description has them.",
            body=ref("EventTypeImportOpenApiIn"),
            answers=done(ref("EventTypeImported")),
        ),
        f"POST {_ALL}/export/openapi": Said(
            id="v1.event-type.export-openapi",
            summary="Have the event types written as an OpenAPI description, in a zip.",
            answers={202: ref("BackgroundTaskStarted")},
        ),
        f"GET {_ONE}/schema-fault": Said(
            id="v1.event-type.list-schema-faults",
            summary="List where payloads were not as the schema says, the last first.",
            answers=done(page_of("SchemaFault")),
        ),
        f"GET {_ONE}/retry-schedule": Said(
            id="v1.event-type.get-retry-schedule",
            summary="Give when messages of it are tried again.",
            answers=done(ref("RetryScheduleInOut")),
        ),
        f"PUT {_ONE}/retry-schedule": Said(
            id="v1.event-type.set-retry-schedule",
            summary="Set when messages of it are tried again; null is as it is for the app.",
            body=ref("RetryScheduleInOut"),
            answers=done(ref("RetryScheduleInOut")),
        ),
        f"DELETE {_ONE}/schema-fault": Said(
            id="v1.event-type.clear-schema-faults",
            summary="Forget them, such as after the producer was mended.",
            answers=NOTHING,
        ),
        f"DELETE {_ONE}": Said(
            id="v1.event-type.delete",
            summary="Archive it; with `expunge`, delete it.",
            query=(flag("expunge"),),
            answers=NOTHING,
        ),
    },
)
