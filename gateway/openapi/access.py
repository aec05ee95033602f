"""Keys of operators and apps, access to the portal, integrations, and the caller, described."""

from collections.abc import Collection, Iterator
from typing import Final

from gateway.common import MAX_FLAGS
from gateway.openapi.describe import NOTHING, PAGE, Resource, Said, done
from gateway.openapi.shape import (
    FLAG,
    TEXT,
    TIME,
    Shape,
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
from gateway.routes.key import OPERATOR_SCOPES
from gateway.routes.poller_key import MAX_GRACE_S, MAX_LIFE_S
from gateway.routes.portal_access import SESSION_PATTERN
from gateway.scopes import APP_SCOPES
from schema.api_key import Capability, KeyKind
from schema.event import EVENT_TYPE_PATTERN

_OPERATORS: Final = "/api/v1/management/authentication/{env_id}/api-token"
_OF_APP: Final = "/api/v1/auth/app/{app_id}"
_APPS: Final = f"{_OF_APP}/api-token"
_POLLER: Final = f"{_OF_APP}/poller/{{sink_id}}/token"
_INTEGRATIONS: Final = "/api/v1/app/{app_id}/integration"
_INTEGRATION: Final = f"{_INTEGRATIONS}/{{integ_id}}"
_GROUP: Final = "/api/v1/auth/org-group-admin-token"
_KEY_NAME: Final = text(most=256)
_FLAGS: Final = maybe(many(text(pattern=EVENT_TYPE_PATTERN), least=1, most=MAX_FLAGS))
_LIFE: Final = about(maybe(whole(0, 315_360_000)), "In seconds; it does not end if absent.")
_KEY: Final = {
    "id": TEXT,
    "name": maybe(TEXT),
    "createdAt": TIME,
    "expiresAt": maybe(TIME),
    "scopes": maybe(many(TEXT)),
}
_FLAGS_OUT: Final = {"featureFlags": maybe(many(TEXT))}
_PORTAL: Final = {
    "expiry": about(maybe(whole(3_600, 604_800)), "In seconds; a week if absent."),
    "sessionId": maybe(text(pattern=SESSION_PATTERN)),
    "capabilities": about(
        maybe(many(word(Capability), least=1)), "What the holder may do; everything if absent."
    ),
    "readOnly": maybe({"type": "boolean"}),
    "featureFlags": _FLAGS,
    "application": about(ref("ApplicationIn"), "Makes the app of the path, if there is none."),
}


def _scopes(known: Collection[str]) -> Shape:
    return maybe(many(word(known), least=1, most=len(known)))


_OF_OPERATOR: Final = _scopes(OPERATOR_SCOPES)
_OF_KEY_OF_APP: Final = _scopes(APP_SCOPES)


def _keys(root: str, prefix: str, made: str, asked: str) -> Iterator[tuple[str, Said]]:
    """Say what there is both of operators' keys and of an app's."""
    one = f"{root}/{{key_id}}"
    censored = f"{made.removesuffix('Out')}CensoredOut"
    yield (
        f"GET {root}",
        Said(
            id=f"{prefix}.list-api-tokens",
            summary="List the keys that count.",
            query=PAGE,
            answers=done(page_of(censored)),
        ),
    )
    yield (
        f"POST {root}",
        Said(
            id=f"{prefix}.create-api-token",
            summary="Make a key; this answer alone shows it.",
            body=ref(f"{asked}In"),
            answers=done(ref(made)),
        ),
    )
    yield (
        f"GET {one}",
        Said(
            id=f"{prefix}.get-api-token",
            summary="Give a key, without its text.",
            answers=done(ref(censored)),
        ),
    )
    yield (
        f"PUT {one}",
        Said(
            id=f"{prefix}.update-api-token",
            summary="Give a key another name.",
            body=ref("ApiTokenUpdateIn"),
            answers=done(ref(censored)),
        ),
    )
    yield (
        f"PATCH {one}",
        Said(
            id=f"{prefix}.patch-api-token",
            summary="Give a key another name or other scopes.",
            body=ref(f"{asked}Patch"),
            answers=done(ref(censored)),
        ),
    )
    yield (
        f"POST {one}/expire",
        Said(
            id=f"{prefix}.expire-api-token",
            summary="End a key, at once or in some seconds.",
            body=ref("ApiTokenExpireIn"),
            body_needed=False,
            answers=NOTHING,
        ),
    )


KEY: Final = Resource(
    tag="API Key",
    about="Keys of operators and of apps.",
    shapes={
        "ApiTokenOut": thing({**_KEY, "token": TEXT}),
        "ApiTokenCensoredOut": thing({**_KEY, "censoredToken": TEXT}),
        "ApiTokenIn": thing(
            {"name": _KEY_NAME},
            {"scopes": _OF_OPERATOR, "expiry": _LIFE, "featureFlags": _FLAGS},
        ),
        "ApiTokenPatch": thing({}, {"name": maybe(_KEY_NAME), "scopes": _OF_OPERATOR}),
        "ApiTokenUpdateIn": thing({"name": _KEY_NAME}),
        "ApiTokenExpireIn": thing({}, {"expiry": maybe(whole(0, 259_200))}),
        "AppTokenOut": thing({**_KEY, **_FLAGS_OUT, "token": TEXT}),
        "AppTokenCensoredOut": thing({**_KEY, **_FLAGS_OUT, "censoredToken": TEXT}),
        "AppTokenIn": thing(
            {"name": _KEY_NAME},
            {"scopes": _OF_KEY_OF_APP, "expiry": _LIFE, "featureFlags": _FLAGS},
        ),
        "AppTokenPatch": thing({}, {"name": maybe(_KEY_NAME), "scopes": _OF_KEY_OF_APP}),
        "GlobalApiTokenCensoredOut": thing({**_KEY, "censoredToken": TEXT}),
        "CreateTokenIn": thing({"name": _KEY_NAME}, {"expiry": _LIFE}),
        "OrganizationMemberOut": thing(
            {
                "id": TEXT,
                "email": TEXT,
                "fullName": TEXT,
                "role": TEXT,
                "environments": named(),
                "mfaEnabled": FLAG,
                "createdAt": TIME,
                "updatedAt": TIME,
            }
        ),
        "MessageTokenIn": thing({"name": _KEY_NAME}, {"expiry": _LIFE, "featureFlags": _FLAGS}),
    },
    operations={
        **dict(_keys(_OPERATORS, "v1.management.authentication", "ApiTokenOut", "ApiToken")),
        **dict(_keys(_APPS, "v1.authentication.app", "AppTokenOut", "AppToken")),
        f"GET {_GROUP}": Said(
            id="v1.authentication.org-group-admin-token.list",
            summary="List the keys of group admins that count.",
            query=PAGE,
            answers=done(page_of("GlobalApiTokenCensoredOut")),
        ),
        f"POST {_GROUP}": Said(
            id="v1.authentication.org-group-admin-token.create",
            summary="Make a group admin's key, which reaches nothing of an app.",
            body=ref("CreateTokenIn"),
            answers={201: ref("ApiTokenOut")},
        ),
        f"PUT {_GROUP}/{{key_id}}": Said(
            id="v1.authentication.org-group-admin-token.update",
            summary="Give one another name.",
            body=ref("ApiTokenUpdateIn"),
            answers=done(ref("GlobalApiTokenCensoredOut")),
        ),
        f"POST {_GROUP}/{{key_id}}/expire": Said(
            id="v1.authentication.org-group-admin-token.expire",
            summary="End one, at once or in some seconds.",
            body=ref("ApiTokenExpireIn"),
            body_needed=False,
            answers=NOTHING,
        ),
        "GET /api/v1/management/organization/member": Said(
            id="v1.management.organization.list-members",
            summary="Give an empty page: there are keys, and no members.",
            query=PAGE,
            answers=done(page_of("OrganizationMemberOut")),
        ),
        f"POST {_OF_APP}/create-message-token": Said(
            id="v1.authentication.create-message-token",
            summary="Make a key of an app that publishes, and does nothing else.",
            body=ref("MessageTokenIn"),
            answers=done(ref("AppTokenOut")),
        ),
    },
)

AUTHENTICATION: Final = Resource(
    tag="Authentication",
    about="Who calls, and who may look at an app's portal.",
    shapes={
        "WhoamiOut": thing(
            {
                "envId": TEXT,
                "appId": maybe(TEXT),
                "streamAppId": maybe(TEXT),
                "permissionSource": TEXT,
                "sessionId": maybe(TEXT),
                "kind": word(KeyKind),
                "capabilities": many(TEXT),
                "scopes": about(maybe(many(TEXT)), "What alone the key may do; null is all."),
                "featureFlags": maybe(many(TEXT)),
                "expiresAt": maybe(TIME),
            }
        ),
        "OneTimeTokenIn": thing(
            {"oneTimeToken": about(TEXT, "The key of the portal's link, which is shown as well.")}
        ),
        "OneTimeTokenOut": thing({"token": TEXT, "capabilities": many(TEXT)}),
        "AppPortalAccessIn": thing({}, _PORTAL),
        "AppPortalAccessOut": thing({"url": TEXT, "token": TEXT}),
        "RotatePollerTokenIn": thing(
            {},
            {
                "expiry": about(
                    maybe(whole(1, MAX_LIFE_S)), "In seconds; it does not end if absent."
                ),
                "oldTokenExpiry": about(
                    whole(0, MAX_GRACE_S), "When those before end, in seconds; at once if absent."
                ),
            },
        ),
        "ApplicationTokenExpireIn": thing(
            {},
            {
                "expiry": maybe(whole(0, 259_200)),
                "sessionIds": maybe(many(text(pattern=SESSION_PATTERN), most=1_000)),
            },
        ),
    },
    operations={
        "GET /api/v1/auth/whoami": Said(
            id="v1.authentication.whoami",
            summary="Tell who calls.",
            answers=done(ref("WhoamiOut")),
        ),
        "POST /api/v1/auth/logout": Said(
            id="v1.authentication.logout",
            summary="End the key of a portal that is shown.",
            answers=NOTHING,
        ),
        "POST /api/v1/auth/one-time-token": Said(
            id="v1.authentication.exchange-one-time-token",
            summary="Give the key of a portal's link another text, once.",
            body=ref("OneTimeTokenIn"),
            answers=done(ref("OneTimeTokenOut")),
        ),
        "POST /api/v1/auth/app-portal-access/{app_id}": Said(
            id="v1.authentication.app-portal-access",
            summary="Make a key for an app's portal, and the link that brings it there.",
            body=ref("AppPortalAccessIn"),
            body_needed=False,
            answers=done(ref("AppPortalAccessOut")),
        ),
        "POST /api/v1/auth/dashboard-access/{app_id}": Said(
            id="v1.authentication.dashboard-access",
            summary="The older name of that.",
            body=ref("AppPortalAccessIn"),
            body_needed=False,
            answers=done(ref("AppPortalAccessOut")),
            deprecated=True,
        ),
        f"POST {_OF_APP}/expire-all": Said(
            id="v1.authentication.expire-all",
            summary="End the keys of an app's portal, of some sessions or of all.",
            body=ref("ApplicationTokenExpireIn"),
            answers=NOTHING,
        ),
        f"GET {_POLLER}": Said(
            id="v1.authentication.get-poller-token",
            summary="Give the key that reads a poller; that it was shown is audited.",
            answers=done(ref("ApiTokenOut")),
        ),
        f"POST {_POLLER}/rotate": Said(
            id="v1.authentication.rotate-poller-token",
            summary="Give a poller another key, which reads it and does nothing else.",
            body=ref("RotatePollerTokenIn"),
            answers={201: ref("ApiTokenOut")},
        ),
    },
)

INTEGRATION: Final = Resource(
    tag="Integration",
    about="Third parties, each with a key that acts within an app.",
    shapes={
        "IntegrationOut": thing(
            {
                "id": TEXT,
                "name": TEXT,
                "featureFlags": many(TEXT),
                "createdAt": TIME,
                "updatedAt": TIME,
            }
        ),
        "IntegrationIn": thing({"name": text(least=1, most=256)}, {"featureFlags": _FLAGS}),
        "IntegrationKeyOut": thing({"key": TEXT}),
    },
    operations={
        f"GET {_INTEGRATIONS}": Said(
            id="v1.integration.list",
            summary="List an app's integrations.",
            query=PAGE,
            answers=done(page_of("IntegrationOut")),
        ),
        f"POST {_INTEGRATIONS}": Said(
            id="v1.integration.create",
            summary="Make an integration, with a key of its own.",
            body=ref("IntegrationIn"),
            answers={201: ref("IntegrationOut")},
        ),
        f"GET {_INTEGRATION}": Said(
            id="v1.integration.get",
            summary="Give an integration.",
            answers=done(ref("IntegrationOut")),
        ),
        f"PUT {_INTEGRATION}": Said(
            id="v1.integration.update",
            summary="Give an integration another name and other flags; its key stays.",
            body=ref("IntegrationIn"),
            answers=done(ref("IntegrationOut")),
        ),
        f"DELETE {_INTEGRATION}": Said(
            id="v1.integration.delete",
            summary="Delete an integration; its key counts no more.",
            answers=NOTHING,
        ),
        f"GET {_INTEGRATION}/key": Said(
            id="v1.integration.get-key",
            summary="Give the key of an integration; that it was shown is audited.",
            answers=done(ref("IntegrationKeyOut")),
        ),
        f"POST {_INTEGRATION}/key/rotate": Said(
            id="v1.integration.rotate-key",
            summary="Give an integration another key; the former counts no more.",
            answers=done(ref("IntegrationKeyOut")),
        ),
    },
)
