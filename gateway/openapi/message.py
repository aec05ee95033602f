"""Messages, one and many, described."""

from typing import Final

from gateway.bulk import MOST
from gateway.cursor import DEFAULT_LIMIT, MAX_LIMIT
from gateway.draft import MAX_PAYLOAD_DAYS
from gateway.openapi.describe import (
    EXPANDED,
    NOTHING,
    OF_MESSAGES,
    PAGE,
    STATUS,
    WINDOW,
    WITH_CONTENT,
    Resource,
    Said,
    done,
)
from gateway.openapi.endpoint import CHANNELS, SHOWN
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
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes.message import ALL, ONE
from gateway.routes.message_search import MOST_TYPES
from gateway.status import Status
from schema.delivery import Reason
from schema.event import (
    CHANNEL_PATTERN,
    EVENT_TYPE_PATTERN,
    MAX_PAYLOAD_HOURS,
    MAX_TAGS,
    TAG_PATTERN,
    UID_PATTERN,
)

MESSAGE: Final = {
    "id": TEXT,
    "eventId": maybe(TEXT),
    "eventType": TEXT,
    "payload": about(DOCUMENT, '`{}` where it is not shown, `{"expired": true}` once expunged.'),
    "channels": maybe(many(TEXT)),
    "tags": maybe(many(TEXT)),
    "timestamp": TIME,
    "deliverAt": maybe(TIME),
}
MADE_OF: Final = thing({"letterId": TEXT, "messageId": TEXT})
_STANDING: Final = {
    "status": about(word(Status), "Success, pending, fail, sending, canceled."),
    "statusText": TEXT,
    "attempts": COUNT,
    "reason": maybe(word(Reason)),
    "lastStatusCode": maybe(COUNT),
    "lastAttemptAt": maybe(TIME),
    "deliveredAt": maybe(TIME),
}
_ACCEPTED: Final = thing(
    {"status": word(("accepted",)), "id": TEXT, "eventId": maybe(TEXT)},
)
_KEPT: Final = {
    "deliverAt": about(maybe(TIME), "One minute to 24 hours ahead."),
    "payloadRetentionHours": about(
        maybe(whole(1, MAX_PAYLOAD_HOURS)), "How long the payload is kept."
    ),
    "payloadRetentionPeriod": about(
        maybe(whole(1, MAX_PAYLOAD_DAYS)), "The same in days; hours go first."
    ),
    "transformationsParams": about(
        maybe(thing({}, {"rawPayload": maybe(TEXT), "headers": maybe(named(TEXT))})),
        "A text that is sent in place of the payload, and its content-type; the rest is told to "
        "endpoints' transformations, at most 8,192 bytes of it.",
    ),
}
_REFUSED: Final = thing(
    {"status": word(("duplicate", "rejected", "refused")), "code": TEXT, "detail": TEXT},
    {"faults": many(ref("ValidationError"))},
)
TOO_MUCH: Final = (429,)

MESSAGES: Final = Resource(
    tag="Message",
    about="What is published, and where it stands at each endpoint.",
    shapes={
        "MessageIn": thing(
            {"eventType": text(most=256, pattern=EVENT_TYPE_PATTERN), "payload": DOCUMENT},
            {
                "eventId": about(
                    maybe(text(least=1, most=256, pattern=UID_PATTERN)),
                    "A second message of the same is refused (409).",
                ),
                "channels": CHANNELS,
                "tags": maybe(many(text(pattern=TAG_PATTERN), most=MAX_TAGS)),
                "application": about(
                    ref("ApplicationIn"), "Makes the app of the path, if there is none."
                ),
                **_KEPT,
            },
        ),
        "MessageSearchIn": thing(
            {},
            {
                "limit": maybe({**whole(1, MAX_LIMIT), "default": DEFAULT_LIMIT}),
                "iterator": about(maybe(TEXT), "The `iterator` or `prevIterator` of a page."),
                "before": maybe(TIME),
                "after": maybe(TIME),
                "event_types": maybe(
                    many(text(most=256, pattern=EVENT_TYPE_PATTERN), most=MOST_TYPES)
                ),
                "channel": maybe(text(pattern=CHANNEL_PATTERN)),
                "tag": maybe(text(pattern=TAG_PATTERN)),
                "with_content": about(FLAG, "Whether payloads are shown; they are not if absent."),
            },
        ),
        "MessagePrecheckIn": thing(
            {"eventType": text(most=256, pattern=EVENT_TYPE_PATTERN)}, {"channels": CHANNELS}
        ),
        "MessagePrecheckOut": thing({"active": FLAG}),
        "MessageRawPayloadOut": thing({"payload": TEXT}),
        "BulkExpungeContentsIn": thing(
            {}, {"ids": maybe(many(text(pattern=UID_PATTERN), most=MOST))}
        ),
        "BulkExpungeContentsOut": thing({"results": named(word(("expunged", "not-found")))}),
        "MessageOut": thing(
            MESSAGE, {"madeOf": about(maybe(MADE_OF), "The letter that it was made of.")}
        ),
        "MessageBulkIn": thing({"messages": many(ref("MessageIn"), least=1, most=MOST)}),
        "MessageBulkOut": thing({"results": many({"anyOf": [_ACCEPTED, _REFUSED]})}),
        "EndpointMessageOut": thing({**MESSAGE, **_STANDING}, {"nextAttempt": maybe(TIME)}),
        "MessageEndpointOut": thing(
            {**SHOWN, "deletedAt": maybe(TIME), **_STANDING, "nextAttempt": maybe(TIME)}
        ),
    },
    operations={
        f"POST {ALL}": Said(
            id="v1.message.create",
            summary="Publish a message: 202 once it is on disk.",
            query=(WITH_CONTENT,),
            body=ref("MessageIn"),
            answers={202: ref("MessageOut")},
            errors=TOO_MUCH,
        ),
        f"POST {ALL}/bulk": Said(
            id="v1.message.create-bulk",
            summary=f"Publish up to {MOST:,} messages; the answer says what became of each.",
            body=ref("MessageBulkIn"),
            answers={202: ref("MessageBulkOut")},
            errors=TOO_MUCH,
        ),
        "POST /api/v1/app/{app_id}/endpoint/{endpoint_id}/msg/test-attempt": Said(
            id="v1.message.test-attempt",
            summary="Publish a message for one endpoint, and give the one attempt made of it.",
            body=ref("MessageIn"),
            answers={201: ref("MessageAttemptOut")},
            errors=TOO_MUCH,
        ),
        f"GET {ALL}": Said(
            id="v1.message.list",
            summary="List the messages, newest first.",
            query=(*PAGE, *WINDOW, *OF_MESSAGES, WITH_CONTENT),
            answers=done(page_of("MessageOut")),
        ),
        f"POST {ALL}/search": Said(
            id="v1.message.search",
            summary="List the messages by a body, newest first.",
            body=ref("MessageSearchIn"),
            answers=done(page_of("MessageOut")),
        ),
        f"GET {ONE}": Said(
            id="v1.message.get",
            summary="Give a message, also one that was accepted just now.",
            query=(WITH_CONTENT,),
            answers=done(ref("MessageOut")),
        ),
        f"POST {ALL}/precheck/active": Said(
            id="v1.message.precheck",
            summary="Say whether any endpoint would get such a message.",
            body=ref("MessagePrecheckIn"),
            answers=done(ref("MessagePrecheckOut")),
        ),
        f"POST {ALL}/bulk-expunge": Said(
            id="v1.message.bulk-expunge-content",
            summary="Expunge some payloads, by id or event id.",
            body=ref("BulkExpungeContentsIn"),
            body_needed=False,
            answers=done(ref("BulkExpungeContentsOut")),
        ),
        f"POST {ALL}/expunge-all-contents": Said(
            id="v1.message.expunge-all-contents",
            summary="Expunge all payloads that the app has now, as a task.",
            answers={202: ref("BackgroundTaskStarted")},
        ),
        "POST /api/v1/msg/broadcast": Said(
            id="v1.message.broadcast",
            summary="Publish a message for every app of the environment, as a task.",
            body=ref("MessageIn"),
            answers={202: ref("BackgroundTaskStarted")},
        ),
        f"GET {ONE}/raw": Said(
            id="v1.message.get-raw-payload",
            summary="Give the payload as a text, byte by byte.",
            answers=done(ref("MessageRawPayloadOut")),
        ),
        f"DELETE {ONE}/content": Said(
            id="v1.message.expunge-content",
            summary="Expunge the payload; what is owed of it is cancelled.",
            answers=NOTHING,
        ),
        "GET /api/v1/app/{app_id}/endpoint/{endpoint_id}/msg": Said(
            id="v1.message-attempt.list-attempted-messages",
            summary="List the messages that an endpoint got or is owed, newest first.",
            query=(*PAGE, *WINDOW, *OF_MESSAGES, STATUS, EXPANDED, WITH_CONTENT),
            answers=done(page_of("EndpointMessageOut")),
        ),
        f"GET {ONE}/endpoint": Said(
            id="v1.message-attempt.list-attempted-destinations",
            summary="List the endpoints that a message was or is owed to.",
            query=(*PAGE, EXPANDED),
            answers=done(page_of("MessageEndpointOut")),
        ),
    },
)
