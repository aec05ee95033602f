"""Pollers, described."""

from typing import Final

from gateway.cursor import MAX_LIMIT
from gateway.endpoint_fields import MAX_DESCRIPTION
from gateway.openapi.application import UID
from gateway.openapi.describe import NOTHING, Parameter, Resource, Said, choice, done, moment
from gateway.openapi.endpoint import CHANNELS, EVENT_TYPES
from gateway.openapi.message import MESSAGE
from gateway.openapi.shape import (
    COUNT,
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
from gateway.routes.poller_lease import DEFAULT_LEASE_MS, MAX_LEASE_MS, MAX_OFFSET, STARTS
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN

_ALL: Final = "/api/v1/app/{app_id}/poller"
_ONE: Final = f"{_ALL}/{{sink_id}}"
_CONSUMER: Final = f"{_ONE}/consumer/{{consumer_id}}"
_LEASED: Final = "/api/v1/app/{app_id}/polling-endpoint/{sink_id}/consumer/{consumer_id}"
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
_STREAM: Final = (
    *_PAGE,
    Parameter(name="event_types", shape=many(text(pattern=EVENT_TYPE_PATTERN))),
    Parameter(name="channels", shape=many(text(pattern=CHANNEL_PATTERN)), about="One of these."),
    moment("after", "Not what was published before."),
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
        "MessageEventsOut": thing(
            {"data": many(ref("MessageOut")), "iterator": TEXT, "done": FLAG}
        ),
        "PollerV2MessageOut": thing({"offset": COUNT, **MESSAGE, "headers": NULL}),
        "PollerV2PollOut": thing({"data": many(ref("PollerV2MessageOut")), "done": FLAG}),
        "PollerV2CommitIn": thing({"offset": whole(0, MAX_OFFSET)}),
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
        "GET /api/v1/app/{app_id}/events": Said(
            id="v1.message.events",
            summary="Give the messages of an app behind an iterator, the oldest first.",
            query=_STREAM,
            answers=done(ref("MessageEventsOut")),
        ),
        "GET /api/v1/events": Said(
            id="v1.events.stream",
            summary="Give what operators were told behind an iterator, the oldest first.",
            query=_STREAM,
            answers=done(ref("MessageEventsOut")),
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
        f"GET {_LEASED}": Said(
            id="v1.message.pollerv2.consumer-poll",
            summary="Lease the next messages of a consumer; nothing, while others are leased.",
            query=(
                _PAGE[0],
                Parameter(
                    name="lease_duration_ms",
                    shape={**whole(0, MAX_LEASE_MS), "default": DEFAULT_LEASE_MS},
                    about="How long nobody else gets them, unless they are committed.",
                ),
                choice("starting_position", STARTS, "Where a consumer begins that is new."),
            ),
            answers=done(ref("PollerV2PollOut")),
        ),
        f"POST {_LEASED}/commit": Said(
            id="v1.message.pollerv2.consumer-commit",
            summary="Be done with all messages of a consumer up to an offset.",
            body=ref("PollerV2CommitIn"),
            answers=NOTHING,
        ),
    },
)
