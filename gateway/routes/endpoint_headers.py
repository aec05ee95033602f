"""The headers added to an endpoint's requests: `.../endpoint/{endpoint_id}/headers`."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.headers import merged, read_headers, seal, split, unseal
from gateway.parts import Parts, parts
from gateway.routes.endpoint import ONE, find_endpoint, lock_endpoint
from gateway.routing import AnyOperation, Operation
from schema.endpoint import Endpoint
from schema.operational import Kind
from schema.store import endpoint as store
from schema.store import operational
from schema.store.link import Link

_HEADERS: Final = f"{ONE}/headers"


def routes() -> list[AnyOperation]:
    """List the operations on an endpoint's headers."""
    return [
        Operation(method="GET", path=_HEADERS, access=Access.TENANT, handler=get),
        Operation(method="PUT", path=_HEADERS, access=Access.TENANT, handler=put),
        Operation(method="PATCH", path=_HEADERS, access=Access.TENANT, handler=patch),
    ]


async def get(request: Request, caller: Caller) -> Response:
    """Give the headers, of those that hold credentials the names only."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
    shown, sensitive = split(_open(given, endpoint))
    return answer({"headers": shown, "sensitive": sensitive})


async def put(request: Request, caller: Caller) -> Response:
    """Replace the headers."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    fields.require("headers")
    headers = read_headers(fields)
    fields.check()
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        await _write(link, given, caller, endpoint, headers)
    return nothing()


async def patch(request: Request, caller: Caller) -> Response:
    """Set some headers and remove others."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        headers = merged(fields, _open(given, endpoint))
        fields.check()
        await _write(link, given, caller, endpoint, headers)
    return nothing()


def _open(given: Parts, endpoint: Endpoint) -> dict[str, str]:
    return unseal(given.vault, endpoint.app_id, endpoint.id, endpoint.headers)


async def _write(
    link: Link, given: Parts, caller: Caller, endpoint: Endpoint, headers: Mapping[str, str]
) -> None:
    sealed = seal(given.vault, endpoint.app_id, endpoint.id, headers)
    await store.update(link, replace(endpoint, headers=sealed, updated_at=given.clock()))
    await operational.note_endpoints(
        link, Kind.ENDPOINT_UPDATED, [(endpoint.app_id, endpoint.id, {})]
    )
    await trail.note(
        link, given, caller, "endpoint.set_headers", endpoint.id, names=sorted(headers)
    )
