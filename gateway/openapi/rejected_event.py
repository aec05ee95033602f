"""Rejected events, described."""

from typing import Final

from gateway.openapi.dead_letter import REASON
from gateway.openapi.describe import (
    NOTHING,
    PAGE,
    WINDOW,
    Parameter,
    Resource,
    Said,
    choice,
    done,
)
from gateway.openapi.endpoint import CHANNELS
from gateway.openapi.message import TOO_MUCH
from gateway.openapi.shape import (
    ANYTHING,
    COUNT,
    DOCUMENT,
    TEXT,
    TIME,
    many,
    maybe,
    page_of,
    ref,
    text,
    thing,
    word,
)
from gateway.routes.rejected_event import ALL, ONE
from schema.dead_letter import RejectedState
from schema.event import EVENT_TYPE_PATTERN, MAX_TAGS, TAG_PATTERN, UID_PATTERN

_FILTER: Final = (
    *WINDOW,
    choice("state", tuple(RejectedState), "`rejected` if absent."),
    Parameter(name="reason", shape=TEXT),
    Parameter(name="app", shape=TEXT, about="As the event named it."),
)
_EVENT: Final = {
    "id": TEXT,
    "environmentId": maybe(TEXT),
    "app": TEXT,
    "subject": TEXT,
    "headers": DOCUMENT,
    "reason": TEXT,
    "detail": TEXT,
    "sequence": COUNT,
    "createdAt": TIME,
    "state": word(RejectedState),
    "stateAt": maybe(TIME),
    "stateBy": maybe(TEXT),
    "appId": maybe(TEXT),
    "messageId": maybe(TEXT),
}

REJECTED_EVENT: Final = Resource(
    tag="Rejected Event",
    about="Events that could not become messages.",
    shapes={
        "RejectedEvent": thing(_EVENT),
        "RejectedEventWhole": thing(
            {**_EVENT, "body": TEXT, "bodyEncoding": word(("text", "base64"))}
        ),
        "RejectedEventResubmit": thing(
            {},
            {
                "application": maybe(text(pattern=UID_PATTERN)),
                "eventType": maybe(text(pattern=EVENT_TYPE_PATTERN)),
                "eventId": maybe(text(pattern=UID_PATTERN)),
                "channels": CHANNELS,
                "tags": maybe(many(text(pattern=TAG_PATTERN), most=MAX_TAGS)),
                "endpointId": maybe(text(pattern=UID_PATTERN)),
                "payload": ANYTHING,
                "reason": REASON,
            },
        ),
    },
    operations={
        f"GET {ALL}": Said(
            id="v1.rejected-event.list",
            summary="List the rejected events, newest first.",
            query=(*PAGE, *_FILTER),
            answers=done(page_of("RejectedEvent")),
        ),
        f"GET {ALL}/count": Said(
            id="v1.rejected-event.count",
            summary="Count them, exactly up to 100,000.",
            query=_FILTER,
            answers=done(ref("Count")),
        ),
        f"GET {ONE}": Said(
            id="v1.rejected-event.get",
            summary="Give one with its bytes.",
            answers=done(ref("RejectedEventWhole")),
        ),
        f"POST {ONE}/discard": Said(
            id="v1.rejected-event.discard",
            summary="Give it up.",
            body=ref("Reason"),
            body_needed=False,
            answers=NOTHING,
        ),
        f"POST {ONE}/resubmit": Said(
            id="v1.rejected-event.resubmit",
            summary="Publish it with what the body mends of it.",
            body=ref("RejectedEventResubmit"),
            body_needed=False,
            answers={202: ref("RejectedEvent")},
            errors=TOO_MUCH,
        ),
    },
)
