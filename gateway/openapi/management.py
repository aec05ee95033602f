"""Environments, their keys, the caller, health and metrics, described."""

from typing import Final

from gateway.openapi.application import POLICY, WAITS
from gateway.openapi.describe import NOTHING, PAGE, Resource, Said, done
from gateway.openapi.shape import TEXT, TIME, many, maybe, page_of, ref, text, thing, whole, word
from gateway.routes.environment import KINDS
from schema.api_key import ALL_SCOPES

_ENVIRONMENTS: Final = "/api/v1/management/environment"
_ENVIRONMENT: Final = f"{_ENVIRONMENTS}/{{env_id}}"
_KEYS: Final = "/api/v1/management/authentication/{env_id}/api-token"
_KEY: Final = f"{_KEYS}/{{key_id}}"
_PLAIN: Final = "text/plain"
_NAME: Final = text(least=1, most=255)
_KEY_NAME: Final = text(most=256)
_SCOPES: Final = maybe(many(word((ALL_SCOPES,)), least=1, most=1))
_SHOWN: Final = {
    "id": TEXT,
    "name": maybe(TEXT),
    "createdAt": TIME,
    "expiresAt": maybe(TIME),
    "scopes": maybe(many(TEXT)),
}
_HEALTH: Final = thing({"status": word(("ok", "error"))}, {"detail": TEXT})

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
    },
)

KEY: Final = Resource(
    tag="API Key",
    about="The keys of operators.",
    shapes={
        "ApiTokenOut": thing({**_SHOWN, "token": TEXT}),
        "ApiTokenCensoredOut": thing({**_SHOWN, "censoredToken": TEXT}),
        "ApiTokenIn": thing({"name": _KEY_NAME}, {"scopes": _SCOPES}),
        "ApiTokenUpdateIn": thing({"name": _KEY_NAME}),
        "ApiTokenPatch": thing({}, {"name": maybe(_KEY_NAME), "scopes": _SCOPES}),
        "ApiTokenExpireIn": thing({}, {"expiry": maybe(whole(0, 259_200))}),
    },
    operations={
        f"GET {_KEYS}": Said(
            id="v1.management.authentication.list-api-tokens",
            summary="List the operator keys that count.",
            query=PAGE,
            answers=done(page_of("ApiTokenCensoredOut")),
        ),
        f"POST {_KEYS}": Said(
            id="v1.management.authentication.create-api-token",
            summary="Make a key; this answer alone shows it.",
            body=ref("ApiTokenIn"),
            answers=done(ref("ApiTokenOut")),
        ),
        f"GET {_KEY}": Said(
            id="v1.management.authentication.get-api-token",
            summary="Give a key, without its text.",
            answers=done(ref("ApiTokenCensoredOut")),
        ),
        f"PUT {_KEY}": Said(
            id="v1.management.authentication.update-api-token",
            summary="Give a key another name.",
            body=ref("ApiTokenUpdateIn"),
            answers=done(ref("ApiTokenCensoredOut")),
        ),
        f"PATCH {_KEY}": Said(
            id="v1.management.authentication.patch-api-token",
            summary="Give a key another name or other scopes.",
            body=ref("ApiTokenPatch"),
            answers=done(ref("ApiTokenCensoredOut")),
        ),
        f"POST {_KEY}/expire": Said(
            id="v1.management.authentication.expire-api-token",
            summary="End a key, at once or in some seconds.",
            body=ref("ApiTokenExpireIn"),
            body_needed=False,
            answers=NOTHING,
        ),
    },
)

AUTHENTICATION: Final = Resource(
    tag="Authentication",
    about="Who calls.",
    shapes={
        "WhoamiOut": thing(
            {
                "envId": TEXT,
                "appId": maybe(TEXT),
                "streamAppId": maybe(TEXT),
                "permissionSource": TEXT,
                "sessionId": maybe(TEXT),
            }
        ),
    },
    operations={
        "GET /api/v1/auth/whoami": Said(
            id="v1.authentication.whoami",
            summary="Tell who calls.",
            answers=done(ref("WhoamiOut")),
        ),
    },
)

HEALTH: Final = Resource(
    tag="Health",
    about="Whether the gateway and what it stands on are well.",
    shapes={"HealthOut": thing({"database": _HEALTH, "queue": _HEALTH, "cache": _HEALTH})},
    operations={
        "GET /api/v1/health": Said(
            id="v1.health.get",
            summary="200 if Postgres and NATS answer, else 503.",
            answers={200: ref("HealthOut"), 503: ref("HealthOut")},
        ),
        "GET /api/v1/health/ping": Said(
            id="v1.health.ping", summary="The process answers.", answers=NOTHING
        ),
        "GET /metrics": Said(
            id="metrics", summary="Metrics, for Prometheus.", answers=done(TEXT), media=_PLAIN
        ),
    },
)
