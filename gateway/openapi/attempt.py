"""Attempts, described."""

from typing import Final

from gateway.openapi.describe import (
    EXPANDED,
    NOTHING,
    OF_MESSAGES,
    PAGE,
    STATUS,
    WINDOW,
    WITH_CONTENT,
    Parameter,
    Resource,
    Said,
    choice,
    done,
    flag,
)
from gateway.openapi.shape import (
    COUNT,
    FLAG,
    NUMBER,
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
from gateway.status import CODE_CLASSES, Status
from schema.delivery import Fault, Trigger
from schema.event import UID_PATTERN

_APP: Final = "/api/v1/app/{app_id}"
_MESSAGE: Final = f"{_APP}/msg/{{msg_id}}"
_ONE: Final = f"{_MESSAGE}/attempt/{{attempt_id}}"
CODE_CLASS: Final = choice("status_code_class", CODE_CLASSES, "0 is no answer.")
_LISTED: Final = (*PAGE, *WINDOW, *OF_MESSAGES, STATUS, CODE_CLASS, EXPANDED, WITH_CONTENT)
_OF_MESSAGE: Final = (
    *_LISTED,
    Parameter(name="endpoint_id", shape=text(pattern=UID_PATTERN)),
)

ANSWERED: Final = about(
    maybe(many(many(TEXT, least=2, most=2))), "Of a failed attempt's answer, in order, as pairs."
)
ATTEMPT: Final = Resource(
    tag="Message Attempt",
    about="The requests that were made, and what came of them.",
    shapes={
        "MessageAttemptOut": thing(
            {
                "id": TEXT,
                "url": TEXT,
                "response": about(TEXT, "The answer's body, or why there was none."),
                "responseStatusCode": about(whole(0), "0 when there was no answer."),
                "responseDurationMs": COUNT,
                "status": about(word((Status.SUCCESS, Status.FAIL)), "Success, or fail."),
                "statusText": TEXT,
                "triggerType": about(word(Trigger), "By the schedule, or by hand."),
                "msgId": TEXT,
                "endpointId": TEXT,
                "timestamp": TIME,
                "number": about(whole(1), "Of the delivery's attempts, from 1."),
                "eventType": TEXT,
                "verdict": about(TEXT, "`delivered`, `retry`, `park` or `failed`."),
                "fault": maybe(word(Fault)),
                "detail": TEXT,
                "nextAttempt": maybe(TIME),
                "phasesMs": thing(
                    {}, dict.fromkeys(("dns", "connect", "tls", "firstByte", "body"), NUMBER)
                ),
                "address": maybe(TEXT),
                "reused": about(FLAG, "Whether the connection was a kept one."),
                "tls": maybe(TEXT),
                "truncated": FLAG,
            },
            {"responseHeaders": ANSWERED, "msg": maybe(ref("MessageOut"))},
        ),
        "MessageAttemptHeadersOut": thing(
            {
                "sentHeaders": about(named(), "The endpoint's own are those that it has now."),
                "sensitive": about(many(TEXT), "The names of those that are not shown."),
            },
            {"responseHeaders": ANSWERED},
        ),
        "EmptyResponse": thing({}),
        "CountOut": thing({"count": COUNT, "approximated": FLAG}),
    },
    operations={
        f"GET {_APP}/attempt/endpoint/{{endpoint_id}}": Said(
            id="v1.message-attempt.list-by-endpoint",
            summary="List the attempts to an endpoint, newest first.",
            query=(*_LISTED, flag("with_msg", "Whether the message is shown, without payload.")),
            answers=done(page_of("MessageAttemptOut")),
        ),
        f"GET {_APP}/attempt/msg/{{msg_id}}": Said(
            id="v1.message-attempt.list-by-msg",
            summary="List the attempts of a message, newest first.",
            query=_OF_MESSAGE,
            answers=done(page_of("MessageAttemptOut")),
        ),
        f"GET {_APP}/attempt/endpoint/{{endpoint_id}}/count": Said(
            id="v1.message-attempt.count-by-endpoint",
            summary="Count the attempts to an endpoint, up to 10,000.",
            query=(*WINDOW, *OF_MESSAGES, STATUS, CODE_CLASS),
            answers=done(ref("CountOut")),
        ),
        f"GET {_MESSAGE}/endpoint/{{endpoint_id}}/attempt": Said(
            id="v1.message-attempt.list-by-msg-and-endpoint-deprecated",
            summary="List the attempts of a message at an endpoint, newest first.",
            query=_LISTED,
            answers=done(page_of("MessageAttemptOut")),
            deprecated=True,
        ),
        f"GET {_MESSAGE}/attempt": Said(
            id="v1.message-attempt.list-by-msg-deprecated",
            summary="List the attempts of a message, newest first.",
            query=_OF_MESSAGE,
            answers=done(page_of("MessageAttemptOut")),
            deprecated=True,
        ),
        f"GET {_ONE}": Said(
            id="v1.message-attempt.get",
            summary="Give an attempt.",
            query=(EXPANDED,),
            answers=done(ref("MessageAttemptOut")),
        ),
        f"GET {_ONE}/headers": Said(
            id="v1.message-attempt.get-headers",
            summary="Give the headers that were sent, and those of the answer; no secrets.",
            answers=done(ref("MessageAttemptHeadersOut")),
        ),
        f"DELETE {_ONE}/content": Said(
            id="v1.message-attempt.expunge-content",
            summary="Expunge what the receiver answered.",
            answers=NOTHING,
        ),
        f"POST {_MESSAGE}/endpoint/{{endpoint_id}}/resend": Said(
            id="v1.message-attempt.resend",
            summary="Send it to an endpoint now, whatever became of it and past its filters.",
            answers={202: ref("EmptyResponse")},
        ),
    },
)
