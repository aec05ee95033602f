"""About the caller: `/api/v1/auth`."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.body import read_fields
from gateway.parts import parts
from gateway.routing import AnyOperation, Operation
from schema import ids
from schema.api_key import Capability, hash_of, hint_of, mint
from schema.errors import Forbidden, Unauthenticated
from schema.scope import ALL_SCOPES
from schema.store import api_key, revoked_token

_WHOAMI: Final = "/api/v1/auth/whoami"
_LOGOUT: Final = "/api/v1/auth/logout"
_EXCHANGE: Final = "/api/v1/auth/one-time-token"


def routes() -> list[AnyOperation]:
    """List the operations about the caller."""
    return [
        Operation(method="GET", path=_WHOAMI, access=Access.TENANT, handler=whoami),
        Operation(
            method="POST",
            path=_LOGOUT,
            access=Access.PORTAL,
            handler=logout,
            capability=Capability.VIEW_BASE,
        ),
        Operation(
            method="POST",
            path=_EXCHANGE,
            access=Access.PORTAL,
            handler=exchange,
            capability=Capability.VIEW_BASE,
        ),
    ]


async def whoami(_request: Request, caller: Caller) -> Response:
    """Tell a caller who we think they are: Svix's fields, then ours."""
    return answer(
        {
            "envId": caller.environment_id,
            "appId": caller.app_id,
            "streamAppId": None,
            "permissionSource": _source(caller),
            "sessionId": caller.session_id,
            "kind": caller.kind,
            "capabilities": _capabilities(caller),
            "scopes": caller.scopes or None,
            "featureFlags": caller.feature_flags,
            "expiresAt": caller.expires_at,
        }
    )


async def logout(request: Request, caller: Caller) -> Response:
    """End the key that was shown, at once."""
    given = parts(request)
    if caller.app_id is None:  # a portal's key has an app
        raise Forbidden
    now = given.clock()
    async with given.transaction() as link:
        if caller.key_id.startswith(ids.TOKEN):
            await revoked_token.revoke(link, caller.app_id, caller.key_id, now, caller.expires_at)
        else:
            await api_key.revoke(link, caller.key_id, now)
        await trail.note(link, given, caller, "portal.logout", caller.key_id)
    given.keys.drop(caller.app_id)
    return nothing()


async def exchange(request: Request, caller: Caller) -> Response:
    """Give the key that is shown another text, once: that of the portal's link counts no more.

    Raises:
        Unauthenticated: It was exchanged, or ended, at this moment.
    """
    given = parts(request)
    fields = await read_fields(request)
    former = fields.text("oneTimeToken")
    fields.check()
    if caller.app_id is None or caller.key_id.startswith(ids.TOKEN):
        raise Forbidden("A token of Svix's is not exchanged: use it as it is.")
    text, now = mint(), given.clock()
    async with given.transaction() as link:
        exchanged = await api_key.exchange(
            link,
            caller.key_id,
            former=hash_of(former),
            digest=hash_of(text),
            hint=hint_of(text),
            at=now,
        )
        if not exchanged:
            raise Unauthenticated("`oneTimeToken` must be the portal's key that is shown.")
        await trail.note(link, given, caller, "portal.exchange", caller.key_id)
    given.keys.drop(caller.app_id)
    return answer({"token": text, "capabilities": _capabilities(caller)})


def _capabilities(caller: Caller) -> tuple[str, ...]:
    return tuple(Capability) if caller.capabilities is None else caller.capabilities


def _source(caller: Caller) -> str:
    """Say what was shown, in Svix's words."""
    if caller.key_id.startswith(ids.TOKEN):
        return "SvixJwt"
    return "GlobalAuthToken" if ALL_SCOPES in caller.scopes else "RegionalAuthToken"
