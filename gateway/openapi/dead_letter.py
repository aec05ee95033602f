"""Dead letters, of an app and of all apps, and work on many of them, described."""

from collections.abc import Iterator
from typing import Final

from gateway.letters import ALL as ALL_STATES
from gateway.openapi.attempt import ANSWERED, CODE_CLASS
from gateway.openapi.describe import (
    NOTHING,
    PAGE,
    WINDOW,
    Parameter,
    Resource,
    Said,
    choice,
    choices,
    done,
)
from gateway.openapi.message import MADE_OF, MESSAGE, TOO_MUCH
from gateway.openapi.shape import (
    ANYTHING,
    COUNT,
    DOCUMENT,
    FLAG,
    TEXT,
    TIME,
    about,
    many,
    maybe,
    named,
    number,
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes.dead_letter import ALL, EVERYWHERE, ONE
from gateway.routes.dead_letter_export import MEDIA_TYPE
from gateway.task_fields import MOST_LETTERS
from schema.dead_letter import ErrorClass, LetterState
from schema.delivery import Fault, Reason
from schema.event import (
    CHANNEL_PATTERN,
    EVENT_TYPE_PATTERN,
    MAX_CHANNELS,
    MAX_TAGS,
    TAG_PATTERN,
    UID_PATTERN,
)

_ID: Final = text(pattern=UID_PATTERN)
APP: Final = Parameter(name="app_id", shape=many(_ID, most=100), about="Ids or uids.")
ENDPOINT: Final = Parameter(
    name="endpoint_id", shape=many(_ID, most=100), about="Ids; within an app, uids too."
)
_FILTER: Final = (
    *WINDOW,
    choices("state", (*LetterState, ALL_STATES), "`parked` if absent."),
    ENDPOINT,
    Parameter(name="group", shape=many(text(pattern=None), most=100), about="Ids of groups."),
    Parameter(name="event_types", shape=many(text(pattern=EVENT_TYPE_PATTERN), most=100)),
    choices("reason", tuple(Reason)),
    choices("error_class", tuple(ErrorClass)),
    choice("fault", tuple(Fault)),
    Parameter(name="status_code", shape=whole(100, 599)),
    CODE_CLASS,
    Parameter(name="attempts_min", shape=whole(0, 2**31 - 1)),
    Parameter(name="attempts_max", shape=whole(0, 2**31 - 1)),
    Parameter(
        name="text", shape=text(most=200), about="Stands in the answer or in `detail`, in any case."
    ),
    Parameter(
        name="payload_path", shape=text(most=1_000), about="A JSON path of Postgres on the payload."
    ),
)
REASON: Final = about(maybe(text(most=500)), "For the audit trail.")
_LETTER: Final = {
    "id": TEXT,
    "appId": TEXT,
    "messageId": TEXT,
    "endpointId": TEXT,
    "eventType": TEXT,
    "eventId": maybe(TEXT),
    "channels": maybe(many(TEXT)),
    "state": word(LetterState),
    "reason": about(word(Reason), "Why the delivery was given up."),
    "errorClass": about(word(ErrorClass), "Of what kind the failure was."),
    "fault": about(maybe(word(Fault)), "Why there was no answer."),
    "responseStatusCode": about(whole(0), "0 when there was no answer."),
    "detail": TEXT,
    "fingerprint": about(TEXT, "Equal for letters that failed alike."),
    "groupId": TEXT,
    "url": TEXT,
    "payloadBytes": about(maybe(COUNT), "Null once expunged."),
    "attempts": COUNT,
    "firstAttemptAt": maybe(TIME),
    "lastAttemptAt": maybe(TIME),
    "lastAttemptId": maybe(TEXT),
    "messageAt": TIME,
    "parkedAt": TIME,
    "updatedAt": TIME,
}
_WHOLE: Final = {
    "payload": about(ANYTHING, '`{"expired": true}` once expunged.'),
    "contentType": TEXT,
    "headers": about(
        maybe(ref("EndpointHeadersOut")), "What the endpoint had added; null if unreadable."
    ),
    "response": about(maybe(TEXT), "Text, or base64 of what is not UTF-8."),
    "responseHeaders": ANSWERED,
    "reissuedAs": about(many(TEXT), "The messages that were made of it."),
}
_EDIT: Final = {
    "payload": about(ANYTHING, "Its bytes are taken as they are."),
    "eventType": maybe(text(pattern=EVENT_TYPE_PATTERN)),
    "eventId": maybe(text(pattern=UID_PATTERN)),
    "channels": maybe(many(text(pattern=CHANNEL_PATTERN), most=MAX_CHANNELS)),
    "tags": maybe(many(text(pattern=TAG_PATTERN), most=MAX_TAGS)),
    "endpointId": maybe(_ID),
    "reason": REASON,
}
_ASKED: Final = {
    "letterIds": about(
        maybe(many(TEXT, least=1, most=MOST_LETTERS)), "These alone, instead of a filter."
    ),
    "dryRun": about(FLAG, "Say what would be done, and do nothing."),
    "jobId": about(
        maybe(text(least=1, most=256, pattern=UID_PATTERN)), "Asking twice makes one task."
    ),
    "startAt": about(maybe(TIME), "Not before this time."),
    "order": maybe(word(("oldest", "newest"))),
    "reason": REASON,
}
_SENDING: Final = {
    "toEndpointId": about(maybe(_ID), "Another endpoint of the same app."),
    "rate": about(maybe(number(0.01, 100_000)), "In a second, all endpoints together."),
    "concurrency": about(maybe(whole(1, 10_000)), "At each endpoint."),
    "probe": about(maybe(whole(1, 10_000)), "Send so many first; more if all of them arrive."),
    "stopPercent": about(maybe(number(0, 100)), "Of an endpoint that fails more, no more."),
    "retry": about(FLAG, "Whether a failed one is tried again."),
}
_BLOCKED: Final = about(named(COUNT), "How many cannot be done, by why.")
_LINE: Final = {"count": COUNT, "oldestAt": TIME, "bytes": COUNT, "blocked": _BLOCKED}
_PREVIEW: Final = thing(
    {
        "count": COUNT,
        "atLeast": FLAG,
        "endpoints": many(thing({"appId": TEXT, "endpointId": TEXT, **_LINE})),
        "endpointCount": COUNT,
        "otherCount": COUNT,
        "oldestAt": maybe(TIME),
        "bytes": COUNT,
        "blocked": _BLOCKED,
        "estimatedSeconds": maybe(number(0)),
    }
)
COUNTED: Final = thing({"count": COUNT, "atLeast": about(FLAG, "Whether there may be more.")})
_TASK: Final = {200: {"anyOf": [ref("Task"), ref("DeadLetterPreview")]}, 202: ref("Task")}
_SHAPES: Final = {
    "DeadLetter": thing(_LETTER),
    "DeadLetterReissue": thing({}, _EDIT),
    "DeadLetterReissued": thing({**MESSAGE, "madeOf": MADE_OF, "endpointId": TEXT}),
    "DeadLetterWhole": thing(_LETTER | _WHOLE),
    "DeadLetterPreview": _PREVIEW,
    "Count": COUNTED,
    "Reason": thing({}, {"reason": REASON}),
    "DeadLetterRedeliver": thing({}, _ASKED | _SENDING),
    "DeadLetterDiscard": thing({}, _ASKED),
    "DeadLetterPurge": thing(
        {}, {**_ASKED, "confirm": about(FLAG, "True: they are gone for good.")}
    ),
}


def _of_many(root: str, prefix: str, query: tuple[Parameter, ...]) -> Iterator[tuple[str, Said]]:
    """Say what there is both of an app and of all apps."""
    yield (
        f"GET {root}",
        Said(
            id=f"{prefix}.list",
            summary="List the dead letters, newest first.",
            query=(*PAGE, *query),
            answers=done(page_of("DeadLetter")),
            errors=(404,),
        ),
    )
    yield (
        f"GET {root}/count",
        Said(
            id=f"{prefix}.count",
            summary="Count them, exactly up to 100,000.",
            query=query,
            answers=done(ref("Count")),
            errors=(404,),
        ),
    )
    yield (
        f"GET {root}/export",
        Said(
            id=f"{prefix}.export",
            summary="Export them as lines of JSON, oldest first.",
            query=query,
            answers=done(DOCUMENT),
            media=MEDIA_TYPE,
            errors=(404,),
        ),
    )
    for verb, summary in (
        ("redeliver", "Redeliver those of a filter or list, as a task; or say what that would do."),
        ("discard", "Discard them, as a task; wants a `reason`."),
        ("purge", "Delete them for good, as a task; wants a `reason` and `confirm`."),
    ):
        yield (
            f"POST {root}/{verb}",
            Said(
                id=f"{prefix}.{verb}-many",
                summary=summary,
                query=query,
                body=ref(f"DeadLetter{verb.capitalize()}"),
                body_needed=False,
                answers=_TASK,
                errors=(404,),
            ),
        )


DEAD_LETTER: Final = Resource(
    tag="Dead Letter",
    about="Deliveries that were given up, kept whole, to be sent again or discarded.",
    shapes=_SHAPES,
    operations={
        **dict(_of_many(ALL, "v1.application.dead-letter", _FILTER)),
        **dict(_of_many(EVERYWHERE, "v1.dead-letter", (*_FILTER, APP))),
        f"GET {ONE}": Said(
            id="v1.application.dead-letter.get",
            summary="Give a dead letter with payload and answer.",
            answers=done(ref("DeadLetterWhole")),
        ),
        f"POST {ONE}/redeliver": Said(
            id="v1.application.dead-letter.redeliver",
            summary="Send it again, with its message id and history.",
            answers={202: ref("DeadLetter")},
        ),
        f"POST {ONE}/reissue": Said(
            id="v1.application.dead-letter.reissue",
            summary="Publish a new message made of it, with what the body changes.",
            body=ref("DeadLetterReissue"),
            body_needed=False,
            answers={202: ref("DeadLetterReissued")},
            errors=TOO_MUCH,
        ),
        f"POST {ONE}/discard": Said(
            id="v1.application.dead-letter.discard",
            summary="Give it up for good.",
            body=ref("Reason"),
            body_needed=False,
            answers=NOTHING,
        ),
    },
)
