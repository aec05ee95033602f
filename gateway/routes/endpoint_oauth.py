"""How access tokens are got: `.../endpoint/{endpoint_id}/oauth` and `.../oauth-config`.

All of it is kept sealed; secrets and refresh tokens are never shown.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.endpoint_rules import check_token_url
from gateway.oauth_fields import read_config, show
from gateway.parts import Parts, parts
from gateway.routes.endpoint import ONE, find_endpoint, lock_endpoint, touch
from gateway.routing import AnyOperation, Operation
from schema.api_key import Capability
from schema.endpoint import Endpoint, secret_context
from schema.errors import NotFound
from schema.oauth import CONTEXT, REFRESH_CONTEXT, OauthConfig
from schema.store import endpoint_oauth as store

_OAUTH: Final = f"{ONE}/oauth"
_KIND: Final = "OauthConfig"


def routes() -> list[AnyOperation]:
    """List the operations on how an endpoint's access tokens are got."""
    access = Access.TENANT
    view, manage = Capability.VIEW_ENDPOINT_SECRET, Capability.MANAGE_ENDPOINT_SECRET
    return [
        Operation(method="GET", path=_OAUTH, access=access, handler=get, capability=view),
        Operation(method="PUT", path=_OAUTH, access=access, handler=put, capability=manage),
        Operation(method="DELETE", path=_OAUTH, access=access, handler=delete, capability=manage),
        Operation(
            method="GET",
            path=f"{_OAUTH}-config",
            access=access,
            handler=get_status,
            capability=view,
        ),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Give how access tokens are got, without what is secret."""
    config = await _find(request, caller)
    if config is None:
        raise NotFound(_KIND)
    return answer(show(config))


async def get_status(request: Request, caller: Caller) -> Response:
    """Say whether requests have access tokens, and how they are got."""
    config = await _find(request, caller)
    return answer({"enabled": config is not None, "config": config and show(config)})


async def put(request: Request, caller: Caller) -> Response:
    """Set how access tokens are got; those that there are count no more."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    config, refresh_token = read_config(given, fields)
    if config is not None:
        await check_token_url(given, app, fields, config.token_url)
    fields.check()
    if config is None:  # which is a fault
        raise LookupError("config")
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        await store.put(
            link,
            app.id,
            endpoint.id,
            config=_sealed(given, endpoint, config.dump(), CONTEXT),
            refresh_token=None
            if refresh_token is None
            else _sealed(given, endpoint, refresh_token.encode(), REFRESH_CONTEXT),
            now=given.clock(),
        )
        await touch(link, given, caller, endpoint, action="set_oauth")
    return nothing()


async def delete(request: Request, caller: Caller) -> Response:
    """Send no access tokens any more."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        await store.delete(link, app.id, endpoint.id)
        await touch(link, given, caller, endpoint, action="delete_oauth")
    return nothing()


def _sealed(given: Parts, endpoint: Endpoint, content: bytes, of: str) -> bytes:
    return given.vault.seal(content, context=secret_context(endpoint.app_id, endpoint.id, of))


async def _find(request: Request, caller: Caller) -> OauthConfig | None:
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
        sealed = await store.find(link, app.id, endpoint.id)
    if sealed is None:
        return None
    context = secret_context(app.id, endpoint.id, CONTEXT)
    return OauthConfig.load(given.vault.open(sealed, context=context))
