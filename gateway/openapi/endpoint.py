"""Endpoints, their secrets, headers, numbers and health, described."""

from typing import Final

from gateway.endpoint_fields import MAX_DESCRIPTION
from gateway.openapi.application import METADATA, POLICY, RATE, UID, WAITS
from gateway.openapi.describe import NOTHING, PAGE, Resource, Said, choices, done, moment
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
    number,
    old,
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes.auto_config import SINKS
from gateway.routes.endpoint import ALL, ONE
from schema.endpoint import EndpointState
from schema.event import CHANNEL_PATTERN, EVENT_TYPE_PATTERN, MAX_CHANNELS
from schema.header_rules import MAX_HEADERS, MAX_VALUE
from schema.health import By, HealthState

EVENT_TYPES: Final = maybe(many(text(pattern=EVENT_TYPE_PATTERN), least=1))
CHANNELS: Final = maybe(many(text(pattern=CHANNEL_PATTERN), least=1, most=MAX_CHANNELS))
_HEADERS: Final = named(text(most=MAX_VALUE), maxProperties=MAX_HEADERS)
_SECRET: Final = about(
    maybe(text(least=1)), "`whsec_` and 24 to 64 bytes as base64, or `whsk_` and an Ed25519 key."
)
_URL: Final = {**text(least=1), "format": "uri"}
_MAY: Final = {
    "uid": UID,
    "description": text(most=MAX_DESCRIPTION),
    "version": old(maybe(whole(1, 65_535)), "nothing: it has no meaning any more"),
    "disabled": FLAG,
    "paused": about(FLAG, "Holds what the endpoint is owed."),
    "ordered": about(FLAG, "Sends in order, one at a time."),
    "eventTypes": EVENT_TYPES,
    "filterTypes": old(EVENT_TYPES, "eventTypes"),
    "channels": CHANNELS,
    "throttleRate": RATE,
    "rateLimit": old(RATE, "throttleRate"),
    "metadata": METADATA,
    "retryPolicy": POLICY,
}
SHOWN: Final = {
    "id": TEXT,
    "uid": maybe(TEXT),
    "url": TEXT,
    "version": whole(),
    "description": TEXT,
    "throttleRate": RATE,
    "rateLimit": old(maybe(whole()), "throttleRate"),
    "disabled": FLAG,
    "eventTypes": maybe(many(TEXT)),
    "filterTypes": old(maybe(many(TEXT)), "eventTypes"),
    "channels": maybe(many(TEXT)),
    "metadata": METADATA,
    "createdAt": TIME,
    "updatedAt": TIME,
}
_SEEN: Final = {"delivered": COUNT, "failed": COUNT, "successRatio": maybe(number(0, 1))}
_HEALTH: Final = {
    "appId": TEXT,
    "endpointId": TEXT,
    "state": word(HealthState),
    "since": TIME,
    "by": maybe(word(By)),
    "keyId": maybe(TEXT),
    "reason": TEXT,
    "failingSince": maybe(TIME),
    "lastFailedAt": maybe(TIME),
    "failures": COUNT,
    "warnedAt": maybe(TIME),
    "disableAt": maybe(TIME),
}
_RECOVERY: Final = thing(
    {
        "outageSince": TIME,
        "retried": COUNT,
        "dead": COUNT,
        "request": thing({"method": TEXT, "path": TEXT, "body": thing({"since": TIME})}),
    }
)
_SINK: Final = thing({"type": word(SINKS), "config": ref("EndpointIn")})
_UNWELL: Final = tuple(state for state in HealthState if state is not HealthState.HEALTHY)

ENDPOINT: Final = Resource(
    tag="Endpoint",
    about="Where an app's messages are sent, and how the sending fares.",
    shapes={
        "EndpointOut": thing(
            {
                **SHOWN,
                "paused": FLAG,
                "ordered": FLAG,
                "state": word(EndpointState),
                "stateReason": TEXT,
                "retryPolicy": WAITS,
            }
        ),
        "EndpointIn": thing({"url": _URL}, {**_MAY, "secret": _SECRET, "headers": maybe(_HEADERS)}),
        "EndpointUpdate": thing({"url": _URL}, _MAY),
        "EndpointPatch": thing({}, {"url": _URL, **_MAY}),
        "EndpointSecretOut": thing(
            {"key": about(TEXT, "What the receiver verifies with: `whsec_…` or `whpk_…`.")}
        ),
        "EndpointSecretRotateIn": thing(
            {},
            {
                "key": about(_SECRET, f"{_SECRET['description']} A new one if absent."),
                "gracePeriodSeconds": about(
                    maybe(whole(0, 604_800)), "How long the former one signs too; a day if absent."
                ),
            },
        ),
        "EndpointHeadersOut": thing(
            {
                "headers": named(),
                "sensitive": about(many(TEXT), "The names of those that are not shown."),
            }
        ),
        "EndpointHeadersIn": thing({"headers": _HEADERS}),
        "EndpointHeadersPatchIn": thing(
            {}, {"headers": named(maybe(text(most=MAX_VALUE))), "deleteHeaders": many(TEXT)}
        ),
        "AutoConfigOut": thing(
            {
                "token": about(TEXT, "For the receiver: where the API is, a key, a secret."),
                "endpId": TEXT,
                "updatedAt": TIME,
            }
        ),
        "AutoConfigCensoredOut": thing({"tokenCensored": TEXT, "endpId": TEXT, "updatedAt": TIME}),
        "SubscribeIn": thing({}, {"endpoint": maybe(ref("EndpointIn")), "sink": maybe(_SINK)}),
        "RotateSubscriptionIn": thing({}, {"signingSecret": maybe(ref("EndpointSecretRotateIn"))}),
        "EndpointStats": thing(
            {"success": COUNT, "pending": COUNT, "sending": COUNT, "fail": COUNT, "canceled": COUNT}
        ),
        "EndpointAttemptStats": thing({"success": COUNT, "fail": COUNT, "canceled": COUNT}),
        "EndpointThrottleRateStatusOut": thing(
            {"status": word(("Ok", "RateLimited"))}, {"throttledSince": TIME}
        ),
        "CancelMsgsIn": thing({"createdBefore": TIME}),
        "EventExampleIn": thing(
            {"eventType": text(least=1, pattern=EVENT_TYPE_PATTERN)},
            {
                "exampleIndex": about(maybe(whole(0, 1_000)), "Of the schema's examples, from 0."),
                "payload": about(maybe(DOCUMENT), "Sent instead of an example."),
            },
        ),
        "EndpointHealth": thing(
            {
                **_HEALTH,
                "last15Minutes": thing(_SEEN),
                "last24Hours": thing(_SEEN),
                "owed": COUNT,
                "dead": COUNT,
                "recovery": maybe(_RECOVERY),
            }
        ),
        "EndpointHealthListed": thing(
            {**_HEALTH, "appUid": maybe(TEXT), "endpointUid": maybe(TEXT), "url": TEXT}
        ),
        "EndpointHealthChange": thing(
            {
                "at": TIME,
                "from": maybe(word(HealthState)),
                "to": word(HealthState),
                "by": maybe(word(By)),
                "keyId": maybe(TEXT),
                "reason": TEXT,
            }
        ),
    },
    operations={
        f"GET {ALL}": Said(
            id="v1.endpoint.list",
            summary="List the endpoints, newest first.",
            query=PAGE,
            answers=done(page_of("EndpointOut")),
        ),
        f"POST {ALL}": Said(
            id="v1.endpoint.create",
            summary="Make an endpoint, with a secret of its own.",
            body=ref("EndpointIn"),
            answers={201: ref("EndpointOut")},
        ),
        f"GET {ONE}": Said(
            id="v1.endpoint.get", summary="Give an endpoint.", answers=done(ref("EndpointOut"))
        ),
        f"PUT {ONE}": Said(
            id="v1.endpoint.upsert",
            summary="Replace an endpoint except for its secret and headers, or make one.",
            body=ref("EndpointUpdate"),
            answers={200: ref("EndpointOut"), 201: ref("EndpointOut")},
        ),
        f"PATCH {ONE}": Said(
            id="v1.endpoint.patch",
            summary="Change what the body names; null clears.",
            body=ref("EndpointPatch"),
            answers=done(ref("EndpointOut")),
        ),
        f"DELETE {ONE}": Said(
            id="v1.endpoint.delete",
            summary="Delete an endpoint; what it is owed is parked.",
            answers=NOTHING,
        ),
        f"GET {ONE}/secret": Said(
            id="v1.endpoint.get-secret",
            summary="Give what the receiver verifies with; that it was shown is audited.",
            answers=done(ref("EndpointSecretOut")),
        ),
        f"POST {ONE}/secret/rotate": Said(
            id="v1.endpoint.rotate-secret",
            summary="Give it another secret; the former signs too. 204 to SDKs of version 1.",
            body=ref("EndpointSecretRotateIn"),
            body_needed=False,
            answers={200: ref("EndpointSecretOut"), 204: None},
        ),
        "POST /api/v1/app/{app_id}/auto-config": Said(
            id="v1.endpoint.auto-config.create",
            summary="Make an endpoint that awaits its configuration, and the token for that.",
            answers={201: ref("AutoConfigOut")},
        ),
        f"GET {ONE}/auto-config": Said(
            id="v1.endpoint.auto-config.get",
            summary="Say since when an endpoint has its token.",
            answers=done(ref("AutoConfigCensoredOut")),
        ),
        f"PUT {ONE}/auto-config": Said(
            id="v1.endpoint.auto-config.update",
            summary="Configure the endpoint, by its token.",
            body=ref("SubscribeIn"),
            answers=done(ref("EndpointOut")),
        ),
        f"POST {ONE}/auto-config/rotate": Said(
            id="v1.endpoint.auto-config.rotate",
            summary="Give an endpoint another token; the former ends.",
            body=ref("RotateSubscriptionIn"),
            answers={201: ref("AutoConfigOut")},
        ),
        f"GET {ONE}/headers": Said(
            id="v1.endpoint.get-headers",
            summary="Give the headers; of those that hold credentials, the names.",
            answers=done(ref("EndpointHeadersOut")),
        ),
        f"PUT {ONE}/headers": Said(
            id="v1.endpoint.set-headers",
            summary="Replace the headers.",
            body=ref("EndpointHeadersIn"),
            answers=NOTHING,
        ),
        f"PATCH {ONE}/headers": Said(
            id="v1.endpoint.patch-headers",
            summary="Set some headers and remove others.",
            body=ref("EndpointHeadersPatchIn"),
            answers=NOTHING,
        ),
        f"GET {ONE}/stats": Said(
            id="v1.endpoint.get-stats",
            summary="Count attempts by how they ended, and what is owed; up to 28 days.",
            query=(moment("since"), moment("until")),
            answers=done(ref("EndpointStats")),
        ),
        f"GET {ONE}/attempt-stats": Said(
            id="v1.endpoint.get-attempt-stats",
            summary="Count attempts by how they ended, in whole hours.",
            query=(moment("since"), moment("until")),
            answers=done(ref("EndpointAttemptStats")),
        ),
        f"GET {ONE}/rate-limit-status": Said(
            id="v1.endpoint.get-throttling-status",
            summary="Say whether something waits for its rate, and since when.",
            answers=done(ref("EndpointThrottleRateStatusOut")),
        ),
        f"POST {ONE}/cancel-msgs": Said(
            id="v1.endpoint.cancel-msgs",
            summary="Call off what it is owed of messages from before a time.",
            body=ref("CancelMsgsIn"),
            answers=NOTHING,
        ),
        f"POST {ONE}/send-example": Said(
            id="v1.endpoint.send-example",
            summary="Publish an example of an event type for it alone.",
            body=ref("EventExampleIn"),
            answers={202: ref("MessageOut")},
        ),
        f"GET {ONE}/health": Said(
            id="v1.endpoint.get-health",
            summary="Say how it fares, since when, by whom and why, and what an outage cost.",
            answers=done(ref("EndpointHealth")),
        ),
        f"GET {ONE}/health/history": Said(
            id="v1.endpoint.list-health-changes",
            summary="List the changes of that, newest first.",
            query=PAGE,
            answers=done(page_of("EndpointHealthChange")),
        ),
        "GET /api/v1/endpoint-health": Said(
            id="v1.endpoint-health.list",
            summary="List the endpoints of all apps that are not healthy, newest first.",
            query=(*PAGE, choices("state", _UNWELL)),
            answers=done(page_of("EndpointHealthListed")),
        ),
    },
)
