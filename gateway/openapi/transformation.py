"""Transformations, described."""

from typing import Final

from gateway.openapi.describe import NOTHING, Resource, Said, done
from gateway.openapi.endpoint import CHANNELS
from gateway.openapi.shape import (
    DOCUMENT,
    FLAG,
    TEXT,
    TIME,
    about,
    maybe,
    named,
    ref,
    text,
    thing,
    word,
)
from gateway.routes.transformation import PATH
from schema.event import EVENT_TYPE_PATTERN
from schema.transformation import (
    LEAST_CODE,
    METHODS,
    MOST_CODE,
    MOST_VARIABLE,
    MOST_VARIABLES,
)

_CODE: Final = about(
    text(least=LEAST_CODE, most=MOST_CODE),
    "JavaScript that defines `handler(webhook)`, which gives back what is to be sent.",
)
_VARIABLES: Final = maybe(named(text(most=MOST_VARIABLE), maxProperties=MOST_VARIABLES))

TRANSFORMATION: Final = Resource(
    tag="Transformation",
    about="Code of an endpoint's owner that makes the request of each message.",
    shapes={
        "EndpointTransformationOut": thing(
            {
                "code": maybe(TEXT),
                "enabled": FLAG,
                "variables": maybe(named()),
                "updatedAt": maybe(TIME),
            }
        ),
        "EndpointTransformationPatch": thing(
            {}, {"code": maybe(_CODE), "enabled": FLAG, "variables": _VARIABLES}
        ),
        "TransformationSimulateIn": thing(
            {
                "code": _CODE,
                "eventType": text(least=1, pattern=EVENT_TYPE_PATTERN),
                "payload": DOCUMENT,
            },
            {"channels": CHANNELS, "variables": _VARIABLES},
        ),
        "TransformationSimulateOut": thing(
            {
                "url": TEXT,
                "method": word(METHODS),
                "payload": TEXT,
                "headers": about(named(), "Those that the code set."),
                "cancel": FLAG,
            }
        ),
    },
    operations={
        f"GET {PATH}": Said(
            id="v1.endpoint.transformation.get",
            summary="Give an endpoint's code and variables; that these were shown is audited.",
            answers=done(ref("EndpointTransformationOut")),
        ),
        f"PATCH {PATH}": Said(
            id="v1.endpoint.transformation.patch",
            summary="Change what the body names; null clears code and variables.",
            body=ref("EndpointTransformationPatch"),
            answers=NOTHING,
        ),
        f"POST {PATH}/simulate": Said(
            id="v1.endpoint.transformation.simulate",
            summary="Run code on a payload and say what would be sent; nothing is.",
            body=ref("TransformationSimulateIn"),
            answers=done(ref("TransformationSimulateOut")),
        ),
    },
)
