"""Integrations: `/api/v1/app/{app_id}/integration`.

Each has a key that acts within the app. Svix's API shows that key again, so besides its hash it is
kept sealed; that it was shown is audited.
"""

from dataclasses import replace
from datetime import datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.common import read_flags
from gateway.cursor import envelope, read_page
from gateway.parts import Parts, parts
from gateway.routing import AnyOperation, Operation
from schema import ids
from schema.api_key import KeyKind, hash_of, issue
from schema.app import App
from schema.endpoint import secret_context
from schema.errors import NotFound
from schema.integration import Integration
from schema.store import api_key
from schema.store import integration as store
from schema.store.link import Link

KIND: Final = "Integration"
_MAX_NAME: Final = 256
_ALL: Final = "/api/v1/app/{app_id}/integration"
_ONE: Final = f"{_ALL}/{{integ_id}}"


def routes() -> list[AnyOperation]:
    """List the operations on integrations."""
    access = Access.SERVICE
    return [
        Operation(method="GET", path=_ALL, access=access, handler=list_integrations),
        Operation(method="POST", path=_ALL, access=access, handler=create),
        Operation(method="GET", path=_ONE, access=access, handler=get),
        Operation(method="PUT", path=_ONE, access=access, handler=update),
        Operation(method="DELETE", path=_ONE, access=access, handler=delete),
        Operation(  # whoever has a key may do what it may
            method="GET", path=f"{_ONE}/key", access=access, handler=reveal, writes=True
        ),
        Operation(method="POST", path=f"{_ONE}/key/rotate", access=access, handler=rotate),
    ]


def show(integration: Integration) -> dict[str, object]:
    """Give what the API shows of an integration."""
    return {
        "id": integration.id,
        "name": integration.name,
        "featureFlags": integration.feature_flags,
        "createdAt": integration.created_at,
        "updatedAt": integration.updated_at,
    }


async def list_integrations(request: Request, caller: Caller) -> Response:
    """Give a page of the app's integrations."""
    page = read_page(
        request, default_ascending=True, check=lambda key: ids.is_id(ids.INTEGRATION, key)
    )
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        rows = await store.page(link, app.id, bound=page.bound, up=page.scans_up, limit=page.fetch)
    return answer(envelope(rows, page, lambda integration: integration.id, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make an integration, with a key of its own."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    now = given.clock()
    integration = Integration(
        app_id=app.id,
        id=ids.new_id(ids.INTEGRATION, now),
        name=_read_name(fields),
        feature_flags=read_flags(fields),
        sealed=b"",
        created_at=now,
        updated_at=now,
    )
    fields.check()
    async with given.transaction() as link:
        integration, _ = await _give_key(link, given, app, integration)
        await store.insert(link, integration)
        await trail.note(link, given, caller, "integration.create", integration.id)
    return answer(show(integration), 201)


async def get(request: Request, caller: Caller) -> Response:
    """Give an integration."""
    app = await resolve_app(request, caller)
    async with parts(request).connection() as link:
        integration = _checked(await store.find(link, app.id, _id(request)))
    return answer(show(integration))


async def update(request: Request, caller: Caller) -> Response:
    """Give an integration another name and other flags; its key stays."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request)
    name, flags = _read_name(fields), read_flags(fields)
    fields.check()
    async with given.transaction() as link:
        present = _checked(await store.lock(link, app.id, _id(request)))
        integration = replace(present, name=name, feature_flags=flags, updated_at=given.clock())
        await store.update(link, integration)
        await api_key.flag_integration(link, _owner(app), integration.id, flags)
        await trail.note(link, given, caller, "integration.update", integration.id)
    given.keys.drop(app.id)
    return answer(show(integration))


async def delete(request: Request, caller: Caller) -> Response:
    """Delete an integration; its key counts no more."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        integration = _checked(await store.lock(link, app.id, _id(request)))
        await store.delete(link, app.id, integration.id)
        await _revoke(link, app, integration, given.clock())
        await trail.note(link, given, caller, "integration.delete", integration.id)
    given.keys.drop(app.id)
    return nothing()


async def reveal(request: Request, caller: Caller) -> Response:
    """Give the key of an integration; that it was shown is written down."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        integration = _checked(await store.find(link, app.id, _id(request)))
        text = given.vault.open(integration.sealed, context=_context(integration)).decode()
        await trail.note(link, given, caller, "integration.reveal_key", integration.id)
    return answer({"key": text})


async def rotate(request: Request, caller: Caller) -> Response:
    """Give an integration another key; the one before counts no more."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.transaction() as link:
        present = _checked(await store.lock(link, app.id, _id(request)))
        await _revoke(link, app, present, given.clock())
        integration, text = await _give_key(link, given, app, present)
        await store.update(link, replace(integration, updated_at=given.clock()))
        await trail.note(link, given, caller, "integration.rotate_key", integration.id)
    given.keys.drop(app.id)
    return answer({"key": text})


async def _give_key(
    link: Link, given: Parts, app: App, integration: Integration
) -> tuple[Integration, str]:
    """Make a key for an integration; gives the integration with it, and the key's text."""
    key, text = issue(
        environment_id=app.environment_id,
        app_id=app.id,
        kind=KeyKind.INTEGRATION,
        at=given.clock(),
        name=integration.name,
        feature_flags=integration.feature_flags,
        integration_id=integration.id,
    )
    await api_key.create(link, key, hash_of(text))
    sealed = given.vault.seal(text.encode(), context=_context(integration))
    return replace(integration, sealed=sealed), text


async def _revoke(link: Link, app: App, integration: Integration, now: datetime) -> None:
    await api_key.revoke_of_integration(link, _owner(app), integration.id, now)


def _owner(app: App) -> api_key.Owner:
    return api_key.Owner(environment_id=app.environment_id, app_id=app.id)


def _context(integration: Integration) -> bytes:
    return secret_context(integration.app_id, integration.id)


def _id(request: Request) -> str:
    ident: str = request.path_params["integ_id"]
    if not ids.is_id(ids.INTEGRATION, ident):
        raise NotFound(KIND)
    return ident


def _checked(found: Integration | None) -> Integration:
    if found is None:
        raise NotFound(KIND)
    return found


def _read_name(fields: Fields) -> str:
    return fields.text("name", min_length=1, max_length=_MAX_NAME)
