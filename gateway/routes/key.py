"""Operators' keys of an environment: `/api/v1/management/authentication/{env_id}/api-token`."""

from dataclasses import replace
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.body import Fields, read_fields
from gateway.cursor import envelope, read_page
from gateway.parts import parts
from gateway.routes.environment import find_environment
from gateway.routing import AnyOperation, Operation
from schema import ids
from schema.api_key import ALL_SCOPES, PREFIX, ApiKey, KeyKind, hash_of, mint
from schema.errors import NotFound
from schema.store import api_key as store
from schema.store.link import Link

KIND: Final = "API key"
_HINT: Final = 4  # characters of a key's end that may be shown
_MAX_NAME: Final = 256
_MAX_EXPIRY_S: Final = 259_200
_ALL: Final = "/api/v1/management/authentication/{env_id}/api-token"
_ONE: Final = f"{_ALL}/{{key_id}}"


def routes() -> list[AnyOperation]:
    """List the operations on keys."""
    access = Access.INSTALLATION
    return [
        Operation(method="GET", path=_ALL, access=access, handler=list_keys),
        Operation(method="POST", path=_ALL, access=access, handler=create),
        Operation(method="GET", path=_ONE, access=access, handler=get),
        Operation(method="PUT", path=_ONE, access=access, handler=rename),
        Operation(method="PATCH", path=_ONE, access=access, handler=patch),
        Operation(method="POST", path=f"{_ONE}/expire", access=access, handler=expire),
    ]


def show(key: ApiKey) -> dict[str, object]:
    """Give what the API shows of a key once it is made."""
    return {**_shown(key), "censoredToken": f"{PREFIX}***{key.hint}"}


async def list_keys(request: Request, _caller: Caller) -> Response:
    """Give a page of the operators' keys that count."""
    given = parts(request)
    page = read_page(request, default_ascending=True, check=lambda key: ids.is_id(ids.API_KEY, key))
    async with given.connection() as link:
        environment = await find_environment(link, request)
        rows = await store.page(
            link,
            environment.id,
            bound=page.bound,
            up=page.scans_up,
            limit=page.fetch,
            now=given.clock(),
        )
    return answer(envelope(rows, page, lambda key: key.id, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make a key; this answer is the only one that ever shows it."""
    given = parts(request)
    fields = await read_fields(request)
    name = _read_name(fields)
    scopes = _read_scopes(fields)
    fields.check()
    text = mint()
    now = given.clock()
    async with given.transaction() as link:
        environment = await find_environment(link, request)
        key = ApiKey(
            id=ids.new_id(ids.API_KEY, now),
            environment_id=environment.id,
            app_id=None,
            kind=KeyKind.OPERATOR,
            name=name,
            hint=text[-_HINT:],
            scopes=scopes,
            session_id=None,
            created_at=now,
            expires_at=None,
            revoked_at=None,
            last_used_at=None,
        )
        await store.create(link, key, hash_of(text))
        await trail.note(link, given, caller, "key.create", key.id, environment=environment.id)
    return answer({**_shown(key), "token": text})


async def get(request: Request, _caller: Caller) -> Response:
    """Give a key, without its text."""
    async with parts(request).connection() as link:
        environment = await find_environment(link, request)
        key = await store.find_operator(link, environment.id, _id(request))
    if key is None:
        raise NotFound(KIND)
    return answer(show(key))


async def rename(request: Request, caller: Caller) -> Response:
    """Give a key another name."""
    fields = await read_fields(request)
    name = _read_name(fields)
    fields.check()
    return await _change(request, caller, name=name, scopes=None)


async def patch(request: Request, caller: Caller) -> Response:
    """Give a key another name or other scopes."""
    fields = await read_fields(request)
    name = (
        (fields.optional_text("name", max_length=_MAX_NAME) or "") if fields.has("name") else None
    )
    scopes = _read_scopes(fields) if fields.has("scopes") else None
    fields.check()
    return await _change(request, caller, name=name, scopes=scopes)


async def expire(request: Request, caller: Caller) -> Response:
    """End a key, at once or in some seconds; it never lives longer than before."""
    given = parts(request)
    fields = await read_fields(request, optional=True)
    expiry_s = fields.optional_integer("expiry", minimum=0, maximum=_MAX_EXPIRY_S) or 0
    fields.check()
    end = given.clock() + timedelta(seconds=expiry_s)
    async with given.transaction() as link:
        key = await _lock(link, request)
        ends = [at for at in (key.expires_at, end) if at is not None]
        await store.update(link, replace(key, expires_at=min(ends)))
        await trail.note(link, given, caller, "key.expire", key.id, seconds=expiry_s)
    given.keys.drop(key.environment_id)
    return nothing()


async def _change(
    request: Request, caller: Caller, *, name: str | None, scopes: tuple[str, ...] | None
) -> Response:
    given = parts(request)
    async with given.transaction() as link:
        present = await _lock(link, request)
        key = replace(
            present,
            name=present.name if name is None else name,
            scopes=present.scopes if scopes is None else scopes,
        )
        await store.update(link, key)
        await trail.note(link, given, caller, "key.update", key.id)
    given.keys.drop(key.environment_id)
    return answer(show(key))


async def _lock(link: Link, request: Request) -> ApiKey:
    environment = await find_environment(link, request)
    key = await store.lock_operator(link, environment.id, _id(request))
    if key is None:
        raise NotFound(KIND)
    return key


def _id(request: Request) -> str:
    ident: str = request.path_params["key_id"]
    if not ids.is_id(ids.API_KEY, ident):
        raise NotFound(KIND)
    return ident


def _shown(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name or None,
        "createdAt": key.created_at,
        "expiresAt": key.expires_at,
        "scopes": key.scopes or None,
    }


def _read_name(fields: Fields) -> str:
    return fields.text("name", max_length=_MAX_NAME)


def _read_scopes(fields: Fields) -> tuple[str, ...]:
    """Read scopes. One that we do not know would promise a limit that nobody keeps to."""
    scopes = fields.raw("scopes")
    if scopes is None:
        return ()
    if scopes != [ALL_SCOPES]:
        fields.fault("scopes", f'may only be left out, or ["{ALL_SCOPES}"]: every environment')
        return ()
    return (ALL_SCOPES,)
