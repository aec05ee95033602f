"""Access to the portal of an app: keys for people, which end by themselves.

`/api/v1/auth/app-portal-access/{app_id}` and what ends them. The link carries the key behind `#`,
so that it reaches no server's log.
"""

import re
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.common import read_flags
from gateway.parts import parts
from gateway.routes.message import make_app
from gateway.routing import AnyOperation, Operation
from schema.api_key import Capability, KeyKind, hash_of, issue
from schema.errors import NotFound
from schema.store import api_key as store
from schema.store import revoked_token

PAGE: Final = "/portal"
SESSION_PATTERN: Final = re.compile(r"[a-zA-Z0-9@_-]{1,64}\Z")
_LEAST_EXPIRY_S: Final = 3_600
_MAX_EXPIRY_S: Final = 604_800
_MAX_GRACE_S: Final = 259_200
_MAX_SESSIONS: Final = 1_000
_CAPABILITY: Final = re.compile(f"({'|'.join(Capability)})\\Z")
_ACCESS: Final = "/api/v1/auth/app-portal-access/{app_id}"
_DASHBOARD: Final = "/api/v1/auth/dashboard-access/{app_id}"  # its older name
_READ_ONLY: Final = frozenset({Capability.VIEW_BASE, Capability.VIEW_ENDPOINT_SECRET})


def routes() -> list[AnyOperation]:
    """List the operations on access to the portal."""
    return [
        *(
            Operation(method="POST", path=path, access=Access.OPERATOR, handler=give)
            for path in (_ACCESS, _DASHBOARD)
        ),
        Operation(
            method="POST",
            path="/api/v1/auth/app/{app_id}/expire-all",
            access=Access.OPERATOR,
            handler=expire_all,
        ),
    ]


async def give(request: Request, caller: Caller) -> Response:
    """Make a key for the portal, and the link that brings it there.

    With `application` in the body make the app first, if there is none.
    """
    given = parts(request)
    fields = await read_fields(request, optional=True)
    capabilities = _read_capabilities(fields)
    expiry_s = fields.optional_integer("expiry", minimum=_LEAST_EXPIRY_S, maximum=_MAX_EXPIRY_S)
    session_id = fields.optional_text("sessionId", pattern=SESSION_PATTERN)
    flags = read_flags(fields)
    fields.check()
    try:
        app = await resolve_app(request, caller)
    except NotFound:
        app = await make_app(request, caller, fields)
    now = given.clock()
    key, text = issue(
        environment_id=app.environment_id,
        app_id=app.id,
        kind=KeyKind.PORTAL,
        at=now,
        expires_at=now + timedelta(seconds=_MAX_EXPIRY_S if expiry_s is None else expiry_s),
        session_id=session_id,
        capabilities=capabilities,
        feature_flags=flags,
    )
    async with given.transaction() as link:
        await store.create(link, key, hash_of(text))
        await trail.note(link, given, caller, "portal.access", key.id, app=app.id)
    base = given.config.public_url or str(request.base_url).rstrip("/")
    return answer({"url": f"{base}{PAGE}#key={text}", "token": text})


async def expire_all(request: Request, caller: Caller) -> Response:
    """End the keys of an app's portal, at once or in some seconds, of some sessions or of all."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    expiry_s = fields.optional_integer("expiry", minimum=0, maximum=_MAX_GRACE_S) or 0
    sessions = fields.optional_texts(
        "sessionIds", pattern=SESSION_PATTERN, min_items=0, max_items=_MAX_SESSIONS
    )
    fields.check()
    now = given.clock()
    at = now + timedelta(seconds=expiry_s)
    owner = store.Owner(environment_id=app.environment_id, app_id=app.id)
    async with given.transaction() as link:
        await store.end_portal(link, owner, at, sessions or None)
        if not sessions:  # Svix's tokens have none
            await revoked_token.revoke_all(link, app.id, now, at)
        await trail.note(
            link, given, caller, "portal.expire", app.id, seconds=expiry_s, sessions=sessions
        )
    given.keys.drop(app.id)
    return nothing()


def _read_capabilities(fields: Fields) -> tuple[str, ...] | None:
    """Read what the holder may do; None is everything, which is so if nothing is said."""
    held = fields.optional_texts("capabilities", pattern=_CAPABILITY)
    if held is not None and Capability.VIEW_BASE not in held:
        fields.fault("capabilities", f"must hold {Capability.VIEW_BASE}")
    if fields.boolean("readOnly", default=False):
        return tuple(sorted(_READ_ONLY.intersection(held or (Capability.VIEW_BASE,))))
    return held
