"""Apps: `/api/v1/app`."""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import ring, trail
from gateway.answer import answer, nothing
from gateway.appbook import KIND
from gateway.auth import Access, Caller
from gateway.body import Fields, read_fields
from gateway.common import RATE, read_metadata, read_rate, read_retry_policy, read_uid
from gateway.cursor import envelope, read_page
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.routing import AnyOperation, Operation
from schema import ids
from schema.app import App
from schema.errors import Conflict, NotFound
from schema.event import UID_PATTERN
from schema.store import (
    api_key,
    endpoint,
    endpoint_certificate,
    endpoint_oauth,
    endpoint_secret,
    integration,
    policy,
    transformation,
)
from schema.store import app as store
from schema.store.link import Link

_ALL: Final = "/api/v1/app"
_ONE: Final = "/api/v1/app/{app_id}"


def routes() -> list[AnyOperation]:
    """List the operations on apps."""
    return [
        Operation(method="GET", path=_ALL, access=Access.OPERATOR, handler=list_apps),
        Operation(method="POST", path=_ALL, access=Access.OPERATOR, handler=create),
        Operation(method="GET", path=_ONE, access=Access.TENANT, handler=get),
        Operation(method="PUT", path=_ONE, access=Access.OPERATOR, handler=upsert),
        Operation(method="PATCH", path=_ONE, access=Access.OPERATOR, handler=patch),
        Operation(method="DELETE", path=_ONE, access=Access.OPERATOR, handler=delete),
    ]


def show(app: App) -> dict[str, object]:
    """Give what the API shows of an app."""
    return {
        "id": app.id,
        "uid": app.uid,
        "name": app.name,
        "rateLimit": app.throttle_rate,
        "throttleRate": app.throttle_rate,
        "metadata": app.metadata,
        "retryPolicy": policy.write(app.retry_policy),
        "createdAt": app.created_at,
        "updatedAt": app.updated_at,
    }


async def list_apps(request: Request, caller: Caller) -> Response:
    """Give a page of the environment's apps."""
    page = read_page(request, default_ascending=True, check=lambda key: ids.is_id(ids.APP, key))
    query = Query(request)
    without = store.Without(
        no_endpoints=query.boolean("exclude_apps_with_no_endpoints", default=False),
        only_disabled=query.boolean("exclude_apps_with_disabled_endpoints", default=False),
        only_play=query.boolean("exclude_apps_with_svix_play_endpoints", default=False),
    )
    async with parts(request).connection() as link:
        rows = await store.page(
            link,
            caller.environment_id,
            bound=page.bound,
            up=page.scans_up,
            limit=page.fetch,
            without=without,
        )
    return answer(envelope(rows, page, lambda app: app.id, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make an app; with `get_if_exists` give the one that has the uid instead."""
    get_if_exists = Query(request).boolean("get_if_exists", default=False)
    given = parts(request)
    app = _read_new(given, caller, await read_fields(request))
    try:
        async with given.transaction() as link:
            await _insert(link, given, caller, app)
    except Conflict:
        if not get_if_exists or app.uid is None:
            raise
        async with given.connection() as link:
            found = await store.find(link, caller.environment_id, app.uid)
        if found is None:  # deleted in between
            raise
        return answer(show(found))
    return answer(show(app), 201)


async def get(request: Request, caller: Caller) -> Response:
    """Give an app."""
    async with parts(request).connection() as link:
        app = await _find(link, request, caller)
    return answer(show(app))


async def upsert(request: Request, caller: Caller) -> Response:
    """Replace an app, or make one; a new one has the uid of the body, not of the path."""
    given = parts(request)
    fields = await read_fields(request)
    fresh = _read_new(given, caller, fields)
    async with given.transaction() as link:
        try:
            present = await _lock(link, request, caller)
        except NotFound:
            await _insert(link, given, caller, fresh)
            return answer(show(fresh), 201)
        app = replace(
            fresh,
            id=present.id,
            retry_policy=read_retry_policy(fields, present.retry_policy),
            created_at=present.created_at,
        )
        await _update(link, given, caller, app)
    given.apps.cache.drop(app.id)
    return answer(show(app))


async def patch(request: Request, caller: Caller) -> Response:
    """Change what the body names; null clears what can be empty."""
    given = parts(request)
    fields = await read_fields(request)
    async with given.transaction() as link:
        app = _patched(await _lock(link, request, caller), fields)
        fields.check()
        app = replace(app, updated_at=given.clock())
        await _update(link, given, caller, app)
    given.apps.cache.drop(app.id)
    return answer(show(app))


async def delete(request: Request, caller: Caller) -> Response:
    """Delete an app with its endpoints, their secrets, and its keys."""
    given = parts(request)
    now = given.clock()
    async with given.transaction() as link:
        app = await _lock(link, request, caller)
        await store.delete(link, app, now)
        endpoint_ids = await endpoint.delete_all(link, app.id, now)
        for secret in (endpoint_secret, endpoint_certificate, endpoint_oauth, transformation):
            await secret.delete_all(link, app.id, endpoint_ids)
        await integration.delete_all(link, app.id)
        await api_key.revoke_of_app(link, app.environment_id, app.id, now)
        await ring.note(link, given, app.id, *endpoint_ids)
        await trail.note(link, given, caller, "app.delete", app.id, endpoints=len(endpoint_ids))
    given.apps.cache.drop(app.id)
    await ring.ring(given, app.id)
    return nothing()


def _read_new(given: Parts, caller: Caller, fields: Fields) -> App:
    now = given.clock()
    app = App(
        environment_id=caller.environment_id,
        id=ids.new_id(ids.APP, now),
        uid=read_uid(fields, ids.APP),
        name=fields.text("name", min_length=1),
        throttle_rate=read_rate(fields),
        retry_policy=read_retry_policy(fields),
        metadata=read_metadata(fields),
        created_at=now,
        updated_at=now,
    )
    fields.check()
    return app


def _patched(app: App, fields: Fields) -> App:
    if fields.has("name"):
        app = replace(app, name=fields.text("name", min_length=1))
    if fields.has("uid"):
        app = replace(app, uid=read_uid(fields, ids.APP))
    if fields.has(*RATE):
        app = replace(app, throttle_rate=read_rate(fields))
    if fields.has("metadata"):
        app = replace(app, metadata=read_metadata(fields))
    return replace(app, retry_policy=read_retry_policy(fields, app.retry_policy))


async def _find(link: Link, request: Request, caller: Caller) -> App:
    """Find the app of the path as it stands now, past all caches."""
    ref: str = request.path_params["app_id"]
    app = None
    if UID_PATTERN.match(ref):
        app = await store.find(link, caller.environment_id, ref)
    if app is None or caller.app_id not in {None, app.id}:
        raise NotFound(KIND)
    return app


async def _lock(link: Link, request: Request, caller: Caller) -> App:
    found = await _find(link, request, caller)
    app = await store.lock(link, found.environment_id, found.id)
    if app is None:  # deleted in between
        raise NotFound(KIND)
    return app


async def _insert(link: Link, given: Parts, caller: Caller, app: App) -> None:
    await store.insert(link, app)
    await trail.note(link, given, caller, "app.create", app.id)


async def _update(link: Link, given: Parts, caller: Caller, app: App) -> None:
    await store.update(link, app)
    await trail.note(link, given, caller, "app.update", app.id)
