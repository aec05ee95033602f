"""Environments, their settings, and both as one document, described."""

from collections.abc import Mapping
from typing import Final

from gateway.openapi.application import POLICY, WAITS
from gateway.openapi.describe import NOTHING, PAGE, Resource, Said, done
from gateway.openapi.shape import (
    ANYTHING,
    DOCUMENT,
    FLAG,
    TEXT,
    TIME,
    Shape,
    many,
    maybe,
    page_of,
    ref,
    text,
    thing,
    whole,
    word,
)
from gateway.routes.environment import KINDS
from gateway.routes.environment_export import MOST_TYPES
from schema.environment_settings import FOR_TENANTS, KNOWN, RETRY_POLICY

_ENVIRONMENTS: Final = "/api/v1/management/environment"
_ENVIRONMENT: Final = f"{_ENVIRONMENTS}/{{env_id}}"
_SETTINGS: Final = "/api/v1/management/environment-settings"
_NAME: Final = text(least=1, most=255)
_SHAPES: Final[Mapping[type, Shape]] = {
    bool: FLAG,
    str: TEXT,
    int: whole(0, 2**32 - 1),
    dict: DOCUMENT,
    list: many(ANYTHING),
}
_KNOWN: Final[Mapping[str, Shape]] = {
    name: maybe(_SHAPES[kind.of]) if kind.nullable else _SHAPES[kind.of]
    for name, kind in KNOWN.items()
}
_ASKED: Final = {**_KNOWN, RETRY_POLICY: POLICY}
_OPEN: Final = {"additionalProperties": True}  # what we do not know is kept, and given back

ENVIRONMENT: Final = Resource(
    tag="Environment",
    about="Isolated worlds: each owns apps, event types and keys.",
    shapes={
        "EnvironmentOut": thing(
            {
                "id": TEXT,
                "name": TEXT,
                "type": word(KINDS),
                "region": TEXT,
                "retryPolicy": WAITS,
                "createdAt": TIME,
                "updatedAt": TIME,
            }
        ),
        "EnvironmentModelIn": thing({"name": _NAME, "type": word(KINDS)}, {"retryPolicy": POLICY}),
        "EnvironmentUpdate": thing({"name": _NAME}, {"retryPolicy": POLICY}),
        "Settings": {**thing({**_KNOWN, RETRY_POLICY: WAITS}), **_OPEN},
        "SettingsIn": {**thing({}, _ASKED), **_OPEN},
        "SettingsForTenants": thing(
            {**{name: _KNOWN[name] for name in FOR_TENANTS}, "logoUrl": maybe(TEXT)}
        ),
        "EnvironmentExport": thing(
            {
                "version": whole(1),
                "createdAt": TIME,
                "eventTypes": many(ref("EventTypeOut")),
                "settings": DOCUMENT,
                "connectors": many(DOCUMENT),
            }
        ),
        "EnvironmentImport": thing(
            {},
            {
                "eventTypes": maybe(many(ref("EventTypeIn"), most=MOST_TYPES)),
                "settings": maybe(ref("SettingsIn")),
                "connectors": maybe(many(DOCUMENT, most=0)),
            },
        ),
    },
    operations={
        f"GET {_ENVIRONMENTS}": Said(
            id="v1.management.environment.list",
            summary="List the environments.",
            query=PAGE,
            answers=done(page_of("EnvironmentOut")),
        ),
        f"POST {_ENVIRONMENTS}": Said(
            id="v1.management.environment.create",
            summary="Make an environment.",
            body=ref("EnvironmentModelIn"),
            answers={201: ref("EnvironmentOut")},
        ),
        f"GET {_ENVIRONMENT}": Said(
            id="v1.management.environment.get",
            summary="Give an environment.",
            answers=done(ref("EnvironmentOut")),
        ),
        f"PUT {_ENVIRONMENT}": Said(
            id="v1.management.environment.update",
            summary="Rename an environment, and set its retry policy if the body has one.",
            body=ref("EnvironmentUpdate"),
            answers=done(ref("EnvironmentOut")),
        ),
        f"DELETE {_ENVIRONMENT}": Said(
            id="v1.management.environment.delete",
            summary="Delete an environment with all that is in it.",
            answers=NOTHING,
        ),
        f"GET {_SETTINGS}": Said(
            id="v1.management.environment-settings.get",
            summary="Give the settings of the key's environment, as they are in effect.",
            answers=done(ref("Settings")),
            errors=(404,),
        ),
        f"PUT {_SETTINGS}": Said(
            id="v1.management.environment-settings.update",
            summary="Replace the settings.",
            body=ref("SettingsIn"),
            answers=done(ref("Settings")),
            errors=(404,),
        ),
        f"PATCH {_SETTINGS}": Said(
            id="v1.management.environment-settings.patch",
            summary="Change what the body names; null is as if it had never been set.",
            body=ref("SettingsIn"),
            answers=done(ref("Settings")),
            errors=(404,),
        ),
        "GET /api/v1/environment/settings": Said(
            id="v1.environment.get-settings",
            summary="Give what tenants may know of the settings.",
            answers=done(ref("SettingsForTenants")),
            errors=(404,),
        ),
        "POST /api/v1/environment/export": Said(
            id="v1.environment.export",
            summary="Give the event types and settings of the key's environment.",
            answers=done(ref("EnvironmentExport")),
            errors=(404,),
        ),
        "POST /api/v1/environment/import": Said(
            id="v1.environment.import",
            summary="Make and change what a document has, all of it or nothing; delete nothing.",
            body=ref("EnvironmentImport"),
            answers=NOTHING,
            errors=(404,),
        ),
    },
)
