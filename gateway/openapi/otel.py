"""The collector of an environment, described."""

from typing import Final

from gateway.openapi.describe import NOTHING, Resource, Said, done
from gateway.openapi.shape import (
    COUNT,
    FLAG,
    TEXT,
    TIME,
    about,
    maybe,
    named,
    ref,
    text,
    thing,
)
from schema.address import MAX_URL_CHARS
from schema.header_rules import MAX_HEADERS

_CONFIG: Final = "/api/v1/management/environment-settings/customer-otel"
_HEADERS: Final = "additionalHeaders"

OTEL: Final = Resource(
    tag="OpenTelemetry",
    about="Attempts of an environment, exported as spans to a collector.",
    shapes={
        "OtelConfig": thing(
            {
                "url": about(
                    text(least=1, most=MAX_URL_CHARS),
                    "OTLP by HTTP; without a path, /v1/traces is put behind it.",
                )
            },
            {_HEADERS: maybe(named(TEXT, maxProperties=MAX_HEADERS))},
        ),
        "OptionalOtelConfig": thing({}, {"otelConfig": maybe(ref("OtelConfig"))}),
        "OtelConfigOut": thing(
            {
                "url": maybe(TEXT),
                _HEADERS: maybe(named(TEXT)),
                "svixManaged": FLAG,
                "exportedAt": about(maybe(TIME), "When an export went well last."),
                "failures": about(COUNT, "Exports in a row that did not."),
                "nextTryAt": maybe(TIME),
                "lastError": maybe(TEXT),
                "lastErrorAt": maybe(TIME),
                "waiting": about(COUNT, "Attempts that are still to be exported."),
            }
        ),
    },
    operations={
        f"GET {_CONFIG}": Said(
            id="v1.management.environment-settings.get-otel-config",
            summary="Give the collector of the key's environment, and how the export goes.",
            answers=done(ref("OtelConfigOut")),
        ),
        f"PUT {_CONFIG}": Said(
            id="v1.management.environment-settings.update-otel-config",
            summary="Set the collector, and export from now on.",
            body=ref("OtelConfig"),
            answers=NOTHING,
            errors=(404,),
        ),
        f"DELETE {_CONFIG}": Said(
            id="v1.management.environment-settings.delete-otel-config",
            summary="Export nothing any more.",
            answers=NOTHING,
            errors=(404,),
        ),
        f"POST {_CONFIG}/test": Said(
            id="v1.management.environment-settings.test-otel-config",
            summary="Send a span now, to this collector or to the one that is set.",
            body=ref("OptionalOtelConfig"),
            body_needed=False,
            answers=NOTHING,
        ),
    },
)
