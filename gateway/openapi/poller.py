"""Pollers, described."""

from typing import Final

from gateway.cursor import MAX_LIMIT
from gateway.endpoint_fields import MAX_DESCRIPTION
from gateway.openapi.application import UID
from gateway.openapi.describe import NOTHING, Parameter, Resource, Said, done, moment
from gateway.openapi.endpoint import CHANNELS, EVENT_TYPES
from gateway.openapi.message import MESSAGE
from gateway.openapi.shape import (
    FLAG,
    NULL,
    TEXT,
    TIME,
    many,
    maybe,
    page_of,
    ref,
    text,
    thing,
    whole,
)
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN

_ALL: Final = "/api/v1/app/{app_id}/poller"
_ONE: Final = f"{_ALL}/{{sink_id}}"
_CONSUMER: Final = f"{_ONE}/consumer/{{consumer_id}}"
_MAY: Final = {
    "uid": UID,
    "description": text(most=MAX_DESCRIPTION),
    "eventTypes": EVENT_TYPES,
    "channels": CHANNELS,
}
_PAGE: Final = (
    Parameter(name="limit", shape=whole(1, MAX_LIMIT)),
    Parameter(name="iterator", shape=TEXT, about="Where the answer before this one ended."),
)

POLLER: Final = Resource(
    tag="Poller",
    about="For tenants that read their messages by asking.",
    shapes={
        "PollerOut": thing(
            {
                "id": TEXT,
                "uid": maybe(TEXT),
                "description": TEXT,
                "eventTypes": maybe(many(TEXT)),
                "channels": maybe(many(TEXT)),
                "createdAt": TIME,
                "updatedAt": TIME,
            }
        ),
        "PollerIn": thing({}, _MAY),
        "PollingEndpointMessageOut": thing({**MESSAGE, "headers": NULL}),
        "PollingEndpointOut": thing(
            {"data": many(ref("PollingEndpointMessageOut")), "iterator": TEXT, "done": FLAG}
        ),
        "PollingEndpointConsumerSeekIn": thing({"after": TIME}),
        "PollingEndpointConsumerSeekOut": thing({"iterator": TEXT}),
    },
    operations={
        f"GET {_ALL}": Said(
            id="v1.application.poller.list",
            summary="List an app's pollers, the oldest first.",
            answers=done(page_of("PollerOut")),
        ),
        f"POST {_ALL}": Said(
            id="v1.application.poller.create",
            summary="Make a poller; it reads what is published from then on.",
            body=ref("PollerIn"),
            answers={201: ref("PollerOut")},
        ),
        f"PATCH {_ONE}": Said(
            id="v1.application.poller.patch",
            summary="Change what the body names; null clears.",
            body=ref("PollerIn"),
            answers=done(ref("PollerOut")),
        ),
        f"DELETE {_ONE}": Said(
            id="v1.application.poller.delete",
            summary="Delete a poller, with how far its consumers have read.",
            answers=NOTHING,
        ),
        f"GET {_ONE}": Said(
            id="v1.message.poller.poll",
            summary="Give the messages behind an iterator, which the caller keeps.",
            query=(
                *_PAGE,
                Parameter(name="event_type", shape=text(pattern=EVENT_TYPE_PATTERN)),
                Parameter(name="channel", shape=text(pattern=CHANNEL_PATTERN)),
                moment("after"),
            ),
            answers=done(ref("PollingEndpointOut")),
        ),
        f"GET {_CONSUMER}": Said(
            id="v1.message.poller.consumer-poll",
            summary="Give the next messages of a consumer, and remember how far it has read.",
            query=_PAGE,
            answers=done(ref("PollingEndpointOut")),
        ),
        f"POST {_CONSUMER}/seek": Said(
            id="v1.message.poller.consumer-seek",
            summary="Have a consumer go on from a time, wherever it was.",
            body=ref("PollingEndpointConsumerSeekIn"),
            answers=done(ref("PollingEndpointConsumerSeekOut")),
        ),
    },
)
