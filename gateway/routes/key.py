"""Keys that do not end by themselves: operators' of an environment, and those of an app.

The former at `/api/v1/management/authentication/{env_id}/api-token`, by Svix's API; the latter at
`/api/v1/auth/app/{app_id}/api-token`, which is ours.
"""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import Fields, read_fields
from gateway.common import read_flags
from gateway.cursor import envelope, read_page
from gateway.parts import parts
from gateway.routes.environment import KIND as ENVIRONMENT
from gateway.routes.environment import find_environment
from gateway.routing import AnyOperation, Operation
from gateway.scopes import APP_SCOPES
from schema import ids
from schema.api_key import PREFIX, ApiKey, KeyKind, hash_of, issue
from schema.errors import Forbidden, NotFound
from schema.scope import ALL_SCOPES, Scope
from schema.store import api_key as store
from schema.store import environment as environments
from schema.store.link import Link

KIND: Final = "API key"
_MAX_NAME: Final = 256
_SCOPE: Final = re.compile(r"[^\x00]{1,64}\Z")
_MAX_EXPIRY_S: Final = 259_200
_MAX_LIFE_S: Final = 315_360_000  # ten years
_OPERATORS: Final = "/api/v1/management/authentication/{env_id}/api-token"
_APPS: Final = "/api/v1/auth/app/{app_id}/api-token"
_PUBLISHER: Final = "/api/v1/auth/app/{app_id}/create-message-token"
OPERATOR_SCOPES: Final = (ALL_SCOPES, *Scope)


def routes() -> list[AnyOperation]:
    """List the operations on keys."""
    return [
        *_routes(_OPERATORS, Access.INSTALLATION),
        *_routes(_APPS, Access.OPERATOR),
        Operation(method="POST", path=_PUBLISHER, access=Access.OPERATOR, handler=create_publisher),
    ]


def _routes(path: str, access: Access) -> list[AnyOperation]:
    one = f"{path}/{{key_id}}"
    return [
        Operation(method="GET", path=path, access=access, handler=list_keys),
        Operation(method="POST", path=path, access=access, handler=create),
        Operation(method="GET", path=one, access=access, handler=get),
        Operation(method="PUT", path=one, access=access, handler=rename),
        Operation(method="PATCH", path=one, access=access, handler=patch),
        Operation(method="POST", path=f"{one}/expire", access=access, handler=expire),
    ]


def show(key: ApiKey) -> dict[str, object]:
    """Give what the API shows of a key once it is made."""
    return {**_shown(key), "censoredToken": f"{PREFIX}***{key.hint}"}


def show_with_text(key: ApiKey, text: str) -> dict[str, object]:
    """Give what the API shows of a key together with its text."""
    return {**_shown(key), "token": text}


async def list_keys(request: Request, caller: Caller) -> Response:
    """Give a page of the keys that count."""
    given = parts(request)
    page = read_page(request, default_ascending=True, check=lambda key: ids.is_id(ids.API_KEY, key))
    async with given.connection() as link:
        rows = await store.page(
            link,
            await _owner(link, request, caller),
            bound=page.bound,
            up=page.scans_up,
            limit=page.fetch,
            now=given.clock(),
        )
    return answer(envelope(rows, page, lambda key: key.id, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make a key; this answer is the only one that ever shows it."""
    fields = await read_fields(request)
    return await make(request, caller, fields, _read_scopes(request, fields))


async def create_publisher(request: Request, caller: Caller) -> Response:
    """Make a key of an app that publishes its messages and does nothing else."""
    return await make(request, caller, await read_fields(request), (Scope.MESSAGE_CREATE,))


async def make(
    request: Request,
    caller: Caller,
    fields: Fields,
    scopes: tuple[str, ...],
    *,
    status: int = 200,
) -> Response:
    """Make a key of whom the path means, with these scopes."""
    given = parts(request)
    name = _read_name(fields)
    flags = read_flags(fields)
    life_s = fields.optional_integer("expiry", minimum=0, maximum=_MAX_LIFE_S)
    fields.check()
    now = given.clock()
    _may_give(caller, scopes)
    async with given.transaction() as link:
        owner = await _owner(link, request, caller)
        key, text = issue(
            environment_id=owner.environment_id,
            app_id=owner.app_id,
            kind=owner.kind,
            at=now,
            name=name,
            scopes=scopes,
            expires_at=None if life_s is None else now + timedelta(seconds=life_s),
            feature_flags=flags,
        )
        await store.create(link, key, hash_of(text))
        what = {"environment": key.environment_id, "app": key.app_id, "scopes": scopes}
        await trail.note(link, given, caller, "key.create", key.id, **what)
    return answer(show_with_text(key, text), status)


async def get(request: Request, caller: Caller) -> Response:
    """Give a key, without its text."""
    async with parts(request).connection() as link:
        owner = await _owner(link, request, caller)
        key = await store.find_of(link, owner, _id(request))
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
    scopes = _read_scopes(request, fields) if fields.has("scopes") else None
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
        key = await _lock(link, request, caller)
        ends = [at for at in (key.expires_at, end) if at is not None]
        await store.update(link, replace(key, expires_at=min(ends)))
        await trail.note(link, given, caller, "key.expire", key.id, seconds=expiry_s)
    given.keys.drop(key.app_id or key.environment_id)
    return nothing()


async def _change(
    request: Request, caller: Caller, *, name: str | None, scopes: tuple[str, ...] | None
) -> Response:
    given = parts(request)
    _may_give(caller, scopes or ())
    async with given.transaction() as link:
        present = await _lock(link, request, caller)
        key = replace(
            present,
            name=present.name if name is None else name,
            scopes=present.scopes if scopes is None else scopes,
        )
        await store.update(link, key)
        await trail.note(link, given, caller, "key.update", key.id, scopes=key.scopes)
    given.keys.drop(key.app_id or key.environment_id)
    return answer(show(key))


async def _owner(link: Link, request: Request, caller: Caller) -> store.Owner:
    """Find whose keys a path is about.

    Raises:
        NotFound: There is no such environment or app.
    """
    if "app_id" in request.path_params:
        app = await resolve_app(request, caller)
        return store.Owner(environment_id=app.environment_id, app_id=app.id)
    if "env_id" not in request.path_params:
        default = await environments.find_default(link)
        if default is None:  # it cannot be deleted
            raise NotFound(ENVIRONMENT)
        return store.Owner(environment_id=default.id, other_kind=KeyKind.GROUP_ADMIN)
    return store.Owner(environment_id=(await find_environment(link, request)).id)


async def _lock(link: Link, request: Request, caller: Caller) -> ApiKey:
    owner = await _owner(link, request, caller)
    key = await store.lock_of(link, owner, _id(request))
    if key is None:
        raise NotFound(KIND)
    _may_give(caller, key.scopes)
    return key


def _may_give(caller: Caller, scopes: tuple[str, ...]) -> None:
    """Keep group admins from what would make them more than they are.

    Raises:
        Forbidden: The key is, or becomes, one that may do everything.
    """
    if caller.kind is KeyKind.GROUP_ADMIN and ALL_SCOPES in scopes:
        raise Forbidden(f"A group admin's key makes and changes no key of scope {ALL_SCOPES}.")


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
        **({"featureFlags": key.feature_flags} if key.kind is KeyKind.APP else {}),
    }


def _read_name(fields: Fields) -> str:
    return fields.text("name", max_length=_MAX_NAME)


def _read_scopes(request: Request, fields: Fields) -> tuple[str, ...]:
    """Read scopes. One that we do not know would promise a limit that nobody keeps to."""
    known = APP_SCOPES if "app_id" in request.path_params else OPERATOR_SCOPES
    scopes = fields.optional_texts("scopes", pattern=_SCOPE, max_items=len(known))
    strange = [scope for scope in scopes or () if scope not in known]
    if strange:
        fields.fault("scopes", f"{strange[0]} is none of {', '.join(known)}")
    return scopes or ()
