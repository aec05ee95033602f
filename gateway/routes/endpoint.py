"""Endpoints: `/api/v1/app/{app_id}/endpoint`."""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import ring, trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.cursor import envelope, read_page
from gateway.endpoint_fields import changed, fresh, replaced
from gateway.endpoint_rules import check_rules
from gateway.headers import read_headers, seal
from gateway.parts import Parts, parts
from gateway.routing import AnyOperation, Operation
from gateway.secret import keep, read_secret
from schema import ids
from schema.app import App
from schema.endpoint import Endpoint, EndpointState
from schema.errors import FieldFault, Invalid, NotFound
from schema.event import UID_PATTERN
from schema.operational import Kind
from schema.store import (
    api_key,
    endpoint_certificate,
    endpoint_oauth,
    endpoint_secret,
    event_type,
    health,
    operational,
    policy,
    transformation,
)
from schema.store import endpoint as store
from schema.store.app import ensure_operational
from schema.store.link import Link
from signer.secret import SigningSecret

KIND: Final = "Endpoint"
ALL: Final = "/api/v1/app/{app_id}/endpoint"
ONE: Final = "/api/v1/app/{app_id}/endpoint/{endpoint_id}"


def routes() -> list[AnyOperation]:
    """List the operations on endpoints."""
    return [
        Operation(method="GET", path=ALL, access=Access.TENANT, handler=list_endpoints),
        Operation(method="POST", path=ALL, access=Access.TENANT, handler=create),
        Operation(method="GET", path=ONE, access=Access.TENANT, handler=get),
        Operation(method="PUT", path=ONE, access=Access.TENANT, handler=upsert),
        Operation(method="PATCH", path=ONE, access=Access.TENANT, handler=patch),
        Operation(method="DELETE", path=ONE, access=Access.TENANT, handler=delete),
    ]


def show(endpoint: Endpoint) -> dict[str, object]:
    """Give what the API shows of an endpoint: Svix's fields of both versions, then ours."""
    return {
        "id": endpoint.id,
        "uid": endpoint.uid,
        "url": endpoint.url,
        "version": endpoint.version,
        "description": endpoint.description,
        "rateLimit": endpoint.throttle_rate,
        "throttleRate": endpoint.throttle_rate,
        "disabled": endpoint.state is EndpointState.DISABLED,
        "paused": endpoint.state is EndpointState.PAUSED,
        "filterTypes": endpoint.event_types,
        "eventTypes": endpoint.event_types,
        "channels": endpoint.channels,
        "metadata": endpoint.metadata,
        "createdAt": endpoint.created_at,
        "updatedAt": endpoint.updated_at,
        "state": endpoint.state,
        "stateReason": endpoint.state_reason,
        "retryPolicy": policy.write(endpoint.retry_policy),
        "ordered": endpoint.ordered,
    }


async def find_endpoint(link: Link, request: Request, app: App) -> Endpoint:
    """Find the endpoint that a path names, by its id or uid.

    Raises:
        NotFound: The app has none such.
    """
    ref: str = request.path_params["endpoint_id"]
    found = await store.find(link, app.id, ref) if UID_PATTERN.match(ref) else None
    if found is None:
        raise NotFound(KIND)
    return found


async def lock_endpoint(link: Link, request: Request, app: App) -> Endpoint:
    """Find the endpoint that a path names and keep others from changing it.

    Raises:
        NotFound: The app has none such.
    """
    found = await find_endpoint(link, request, app)
    endpoint = await store.lock(link, app.id, found.id)
    if endpoint is None:  # deleted in between
        raise NotFound(KIND)
    return endpoint


async def touch(
    link: Link, given: Parts, caller: Caller, endpoint: Endpoint, *, action: str, **detail: object
) -> None:
    """Note that something of an endpoint that stands elsewhere was changed."""
    await store.update(link, replace(endpoint, updated_at=given.clock()))
    place = (endpoint.app_id, endpoint.id)
    await operational.note_endpoints(link, Kind.ENDPOINT_UPDATED, [(*place, {})])
    await trail.note(link, given, caller, f"endpoint.{action}", endpoint.id, **detail)


async def list_endpoints(request: Request, caller: Caller) -> Response:
    """Give a page of the app's endpoints, newest first."""
    page = read_page(
        request, default_ascending=False, check=lambda key: ids.is_id(ids.ENDPOINT, key)
    )
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        rows = await store.page(link, app.id, bound=page.bound, up=page.scans_up, limit=page.fetch)
    return answer(envelope(rows, page, lambda endpoint: endpoint.id, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make an endpoint, with a secret of its own."""
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    return await _create(parts(request), caller, app, fields)


async def get(request: Request, caller: Caller) -> Response:
    """Give an endpoint."""
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        endpoint = await find_endpoint(link, request, app)
    return answer(show(endpoint))


async def upsert(request: Request, caller: Caller) -> Response:
    """Replace an endpoint except for its secret and headers, or make one."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    async with given.transaction() as link:
        try:
            present = await lock_endpoint(link, request, app)
        except NotFound:
            present = None
        if present is not None:
            endpoint = replaced(given, present, fields)
            await change(link, given, caller, app, present=present, endpoint=endpoint)
    if present is None:
        return await _create(given, caller, app, fields)
    await ring.ring(given, app.id)
    return answer(show(endpoint))


async def patch(request: Request, caller: Caller) -> Response:
    """Change what the body names; null clears what can be empty."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    async with given.transaction() as link:
        present = await lock_endpoint(link, request, app)
        endpoint = changed(given, present, fields)
        await change(link, given, caller, app, present=present, endpoint=endpoint)
    await ring.ring(given, app.id)
    return answer(show(endpoint))


async def delete(request: Request, caller: Caller) -> Response:
    """Delete an endpoint; what it is owed is parked by the owner of its shard."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        endpoint = await lock_endpoint(link, request, app)
        # While it still has its uid.
        await operational.note_endpoints(link, Kind.ENDPOINT_DELETED, [(app.id, endpoint.id, {})])
        await store.delete(link, app.id, endpoint.id, given.clock())
        for secret in (endpoint_secret, endpoint_certificate, endpoint_oauth):
            await secret.delete_all(link, app.id, [endpoint.id])
        owner = api_key.Owner(environment_id=app.environment_id, app_id=app.id)
        await api_key.revoke_of_endpoint(link, owner, endpoint.id, given.clock())
        await transformation.delete_all(link, app.id, [endpoint.id])
        await ring.note(link, given, app.id, endpoint.id)
        await trail.note(link, given, caller, "endpoint.delete", endpoint.id)
    await ring.ring(given, app.id)
    return nothing()


async def _create(given: Parts, caller: Caller, app: App, fields: Fields) -> Response:
    endpoint = fresh(given, app, fields)
    headers = read_headers(fields)
    secret = read_secret(fields, "secret")
    fields.check()
    sealed = seal(given.vault, app.id, endpoint.id, headers)
    endpoint = replace(endpoint, headers=sealed)
    async with given.transaction() as link:
        await add(link, given, caller, app, endpoint=endpoint, secret=secret)
    return answer(show(endpoint), 201)


async def add(
    link: Link,
    given: Parts,
    caller: Caller,
    app: App,
    *,
    endpoint: Endpoint,
    secret: SigningSecret,
) -> None:
    """Write a new endpoint with its secret, if it may be.

    Raises:
        Invalid: It is not as its environment asks, or wants event types that there are not.
        BadState: The app has as many endpoints as it may.
    """
    await _check_event_types(link, caller, app, endpoint.event_types)
    await check_rules(link, given, app, endpoint)
    if app.operational:
        await ensure_operational(link, app)
    await health.act_as(link, caller.key_id)
    await store.insert(link, endpoint)
    await keep(link, given, endpoint, secret)
    await operational.note_endpoints(link, Kind.ENDPOINT_CREATED, [(app.id, endpoint.id, {})])
    await trail.note(link, given, caller, "endpoint.create", endpoint.id)


async def change(
    link: Link, given: Parts, caller: Caller, app: App, *, present: Endpoint, endpoint: Endpoint
) -> None:
    """Write what an endpoint becomes, if it may, and tell whoever has to hear of it.

    Raises:
        Invalid: It is not as its environment asks, or wants event types that there are not.
    """
    if endpoint.event_types != present.event_types:
        await _check_event_types(link, caller, app, endpoint.event_types)
    await check_rules(link, given, app, endpoint, present)
    if endpoint.state is not present.state:
        await health.act_as(link, caller.key_id)
    await store.update(link, endpoint)
    if _owes_otherwise(present, endpoint):
        await ring.note(link, given, app.id, endpoint.id)
    await _tell_change(link, present, endpoint)
    became = {} if endpoint.state is present.state else {"state": endpoint.state}
    await trail.note(link, given, caller, "endpoint.update", endpoint.id, **became)


async def _tell_change(link: Link, present: Endpoint, endpoint: Endpoint) -> None:
    place = (endpoint.app_id, endpoint.id)
    await operational.note_endpoints(link, Kind.ENDPOINT_UPDATED, [(*place, {})])
    was, now = (e.state is EndpointState.DISABLED for e in (present, endpoint))
    if now and not was:
        why = {"trigger": "manual", "reason": endpoint.state_reason, "failSince": None}
        await operational.note_endpoints(link, Kind.ENDPOINT_DISABLED, [(*place, why)])
    elif was and not now:
        await operational.note_endpoints(link, Kind.ENDPOINT_ENABLED, [(*place, {})])


def _owes_otherwise(present: Endpoint, endpoint: Endpoint) -> bool:
    """Tell whether a change alters what is sent, or when."""
    then, now = (
        (e.state, e.url, e.throttle_rate, e.retry_policy, e.ordered) for e in (present, endpoint)
    )
    return then != now


async def _check_event_types(
    link: Link, caller: Caller, app: App, names: tuple[str, ...] | None
) -> None:
    if app.operational:
        unusable = [name for name in names or () if name not in set(Kind)]
    else:
        unusable = await event_type.unusable(
            link, app.environment_id, names or (), caller.feature_flags
        )
    if unusable:
        listed = ", ".join(unusable)
        msg = f"The following event types don't exist: {listed}"
        raise Invalid([FieldFault(loc=("body", "eventTypes"), msg=msg)])
