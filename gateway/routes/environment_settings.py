"""The settings of the caller's environment, for operators and for tenants."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.body import read_fields
from gateway.parts import parts
from gateway.routes.environment import KIND
from gateway.routing import AnyOperation, Operation
from gateway.settings_fields import read_settings, show_settings, show_to_tenants
from schema.app import Environment
from schema.errors import NotFound
from schema.store import environment as store
from schema.store.link import Link

_OPERATORS: Final = "/api/v1/management/environment-settings"
_TENANTS: Final = "/api/v1/environment/settings"


def routes() -> list[AnyOperation]:
    """List the operations on settings."""
    return [
        Operation(method="GET", path=_TENANTS, access=Access.TENANT, handler=get_for_tenants),
        Operation(method="GET", path=_OPERATORS, access=Access.INSTALLATION, handler=get),
        Operation(method="PUT", path=_OPERATORS, access=Access.INSTALLATION, handler=update),
        Operation(method="PATCH", path=_OPERATORS, access=Access.INSTALLATION, handler=patch),
    ]


async def lock_own(link: Link, caller: Caller) -> Environment:
    """Find the caller's environment and keep others from changing it.

    Raises:
        NotFound: It was deleted just now.
    """
    found = await store.lock(link, caller.environment_id)
    if found is None:
        raise NotFound(KIND)
    return found


async def get(request: Request, caller: Caller) -> Response:
    """Give all settings."""
    return answer(show_settings(await _own(request, caller), parts(request).config))


async def get_for_tenants(request: Request, caller: Caller) -> Response:
    """Give what tenants may know of the settings."""
    return answer(show_to_tenants(await _own(request, caller)))


async def update(request: Request, caller: Caller) -> Response:
    """Replace the settings."""
    return await _write(request, caller, replaces=True)


async def patch(request: Request, caller: Caller) -> Response:
    """Change what the body names; null is as if it had never been set."""
    return await _write(request, caller, replaces=False)


async def _write(request: Request, caller: Caller, *, replaces: bool) -> Response:
    given = parts(request)
    fields = await read_fields(request)
    async with given.transaction() as link:
        present = await lock_own(link, caller)
        environment = read_settings(fields, present, given.clock(), replaces=replaces)
        fields.check()
        await store.update(link, environment)
        await trail.note(link, given, caller, "environment.set", environment.id)
    return answer(show_settings(environment, given.config))


async def _own(request: Request, caller: Caller) -> Environment:
    async with parts(request).connection() as link:
        found = await store.find(link, caller.environment_id)
    if found is None:
        raise NotFound(KIND)
    return found
