"""Environments: `/api/v1/management/environment`. For operators of the whole installation."""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.body import Fields, read_fields
from gateway.common import read_retry_policy
from gateway.cursor import envelope, read_page
from gateway.parts import parts
from gateway.routing import AnyOperation, Operation
from schema import ids
from schema.app import Environment
from schema.errors import BadState, NotFound
from schema.store import environment as store
from schema.store import policy
from schema.store.link import Link

KIND: Final = "Environment"
KINDS: Final = ("development", "production")
_MAX_NAME: Final = 255
_ALL: Final = "/api/v1/management/environment"
_ONE: Final = "/api/v1/management/environment/{env_id}"


def routes() -> list[AnyOperation]:
    """List the operations on environments."""
    return [
        Operation(method="GET", path=_ALL, access=Access.INSTALLATION, handler=list_environments),
        Operation(method="POST", path=_ALL, access=Access.INSTALLATION, handler=create),
        Operation(method="GET", path=_ONE, access=Access.INSTALLATION, handler=get),
        Operation(method="PUT", path=_ONE, access=Access.INSTALLATION, handler=update),
        Operation(method="DELETE", path=_ONE, access=Access.INSTALLATION, handler=delete),
    ]


def show(environment: Environment) -> dict[str, object]:
    """Give what the API shows of an environment."""
    return {
        "id": environment.id,
        "name": environment.name,
        "type": environment.kind,
        "region": "self-hosted",
        "retryPolicy": policy.write(environment.retry_policy),
        "createdAt": environment.created_at,
        "updatedAt": environment.updated_at,
    }


async def find_environment(link: Link, request: Request) -> Environment:
    """Find the environment that a path names.

    Raises:
        NotFound: There is none such.
    """
    return _checked(await store.find(link, _id(request)))


async def list_environments(request: Request, _caller: Caller) -> Response:
    """Give a page of the installation's environments."""
    page = read_page(
        request, default_ascending=True, check=lambda key: ids.is_id(ids.ENVIRONMENT, key)
    )
    async with parts(request).connection() as link:
        rows = await store.page(link, bound=page.bound, up=page.scans_up, limit=page.fetch)
    return answer(envelope(rows, page, lambda environment: environment.id, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make an environment."""
    given = parts(request)
    fields = await read_fields(request)
    now = given.clock()
    environment = Environment(
        id=ids.new_id(ids.ENVIRONMENT, now),
        name=_read_name(fields),
        kind=_read_kind(fields),
        is_default=False,
        retry_policy=read_retry_policy(fields),
        created_at=now,
        updated_at=now,
    )
    fields.check()
    async with given.transaction() as link:
        await store.insert(link, environment)
        await trail.note(link, given, caller, "environment.create", environment.id)
    return answer(show(environment), 201)


async def get(request: Request, _caller: Caller) -> Response:
    """Give an environment."""
    async with parts(request).connection() as link:
        environment = await find_environment(link, request)
    return answer(show(environment))


async def update(request: Request, caller: Caller) -> Response:
    """Rename an environment, and set its retry policy if the body has one."""
    given = parts(request)
    fields = await read_fields(request)
    async with given.transaction() as link:
        present = _checked(await store.lock(link, _id(request)))
        environment = replace(
            present,
            name=_read_name(fields),
            retry_policy=read_retry_policy(fields, present.retry_policy),
            updated_at=given.clock(),
        )
        fields.check()
        await store.update(link, environment)
        await trail.note(link, given, caller, "environment.update", environment.id)
    return answer(show(environment))


async def delete(request: Request, caller: Caller) -> Response:
    """Delete an environment with all that is in it."""
    given = parts(request)
    async with given.transaction() as link:
        environment = _checked(await store.lock(link, _id(request)))
        if environment.is_default:
            raise BadState("The default environment cannot be deleted.")
        await store.delete(link, environment.id, given.clock())
        await trail.note(link, given, caller, "environment.delete", environment.id)
    given.keys.drop_environment(environment.id)
    return nothing()


def _id(request: Request) -> str:
    ident: str = request.path_params["env_id"]
    if not ids.is_id(ids.ENVIRONMENT, ident):
        raise NotFound(KIND)
    return ident


def _checked(found: Environment | None) -> Environment:
    if found is None:
        raise NotFound(KIND)
    return found


def _read_name(fields: Fields) -> str:
    return fields.text("name", min_length=1, max_length=_MAX_NAME)


def _read_kind(fields: Fields) -> str:
    kind = fields.text("type")
    if kind and kind not in KINDS:
        fields.fault("type", f"must be {' or '.join(KINDS)}")
    return kind
