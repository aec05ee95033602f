"""Event types: `/api/v1/event-type`."""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.body import read_fields
from gateway.common import RETRY_POLICY
from gateway.cursor import envelope, read_page
from gateway.event_type_fields import changed, fresh, read_name, replaced
from gateway.parts import parts
from gateway.query import Query
from gateway.routing import AnyOperation, Operation
from schema.errors import Conflict, NotFound
from schema.event import EVENT_TYPE_PATTERN
from schema.event_type import EventType
from schema.store import event_type as store
from schema.store import policy
from schema.store.link import Link

KIND: Final = "Event type"
ALL: Final = "/api/v1/event-type"
ONE: Final = f"{ALL}/{{event_type_name}}"
_PARAMETER: Final = "event_type_name"


def routes() -> list[AnyOperation]:
    """List the operations on event types."""
    return [
        Operation(method="GET", path=ALL, access=Access.TENANT, handler=list_event_types),
        Operation(method="POST", path=ALL, access=Access.OPERATOR, handler=create),
        Operation(method="GET", path=ONE, access=Access.TENANT, handler=get),
        Operation(method="PUT", path=ONE, access=Access.OPERATOR, handler=upsert),
        Operation(method="PATCH", path=ONE, access=Access.OPERATOR, handler=patch),
        Operation(method="DELETE", path=ONE, access=Access.OPERATOR, handler=delete),
    ]


def show(event_type: EventType) -> dict[str, object]:
    """Give what the API shows of an event type, in the words of both versions."""
    flags = event_type.feature_flags
    return {
        "name": event_type.name,
        "description": event_type.description,
        "schemas": event_type.schemas,
        "schemaMode": event_type.schema_mode,
        "schemaVersion": event_type.schema_version,
        "retryPolicy": policy.write(event_type.retry_policy),
        "archived": event_type.archived,
        "deprecated": event_type.deprecated,
        "groupName": event_type.group_name,
        "featureFlag": flags[0] if flags else None,
        "featureFlags": flags,
        "createdAt": event_type.created_at,
        "updatedAt": event_type.updated_at,
    }


async def list_event_types(request: Request, caller: Caller) -> Response:
    """Give a page of the environment's event types; their schemas only when asked for."""
    page = read_page(
        request, default_ascending=True, check=lambda key: EVENT_TYPE_PATTERN.match(key) is not None
    )
    query = Query(request)
    archived = query.boolean("include_archived", default=False)
    schemas = query.boolean("with_content", default=False)
    async with parts(request).connection() as link:
        rows = await store.page(
            link,
            caller.environment_id,
            bound=page.bound,
            up=page.scans_up,
            limit=page.fetch,
            archived=archived,
            flags=caller.feature_flags,
            schemas=schemas,
        )
    return answer(envelope(rows, page, lambda event_type: event_type.name, show))


async def create(request: Request, caller: Caller) -> Response:
    """Make an event type, or bring back an archived one with what the body says."""
    given = parts(request)
    fields = await read_fields(request)
    name = read_name(fields)
    event_type = fresh(caller.environment_id, name, fields, given.clock())
    fields.check()
    async with given.transaction() as link:
        keeps = not fields.has(RETRY_POLICY)
        made = await store.insert(link, event_type, keeps_policy=keeps)
        if made is None:
            raise Conflict("An event type with this name exists already", "event_type_exists")
        await trail.note(link, given, caller, "event_type.create", name)
    return answer(show(made), 201)


async def get(request: Request, caller: Caller) -> Response:
    """Give an event type, archived or not."""
    name = name_of(request)
    async with parts(request).connection() as link:
        found = await find_seen(link, caller, name)
    return answer(show(found))


async def upsert(request: Request, caller: Caller) -> Response:
    """Replace an event type, or make one; its name is that of the path."""
    given = parts(request)
    name = name_of(request)
    fields = await read_fields(request)
    async with given.transaction() as link:
        present = await store.lock(link, caller.environment_id, name)
        now = given.clock()
        if present is None:
            event_type = fresh(caller.environment_id, name, fields, now)
        else:
            event_type = replaced(present, fields, now)
        fields.check()
        event_type, is_new = await store.upsert(link, event_type)
        done = "event_type.create" if is_new else "event_type.update"
        await trail.note(link, given, caller, done, name)
    return answer(show(event_type), 201 if is_new else 200)


async def patch(request: Request, caller: Caller) -> Response:
    """Change what the body names; null clears what can be empty."""
    given = parts(request)
    name = name_of(request)
    fields = await read_fields(request)
    async with given.transaction() as link:
        event_type = changed(await lock(link, caller, name), fields, given.clock())
        fields.check()
        await store.upsert(link, event_type)
        await trail.note(link, given, caller, "event_type.update", name)
    return answer(show(event_type))


async def delete(request: Request, caller: Caller) -> Response:
    """Archive an event type; with `expunge` delete it for good."""
    given = parts(request)
    name = name_of(request)
    expunge = Query(request).boolean("expunge", default=False)
    async with given.transaction() as link:
        event_type = await lock(link, caller, name)
        if expunge:
            await store.expunge(link, caller.environment_id, name)
        else:
            archived = replace(event_type, archived=True, updated_at=given.clock())
            await store.upsert(link, archived)
        done = "event_type.expunge" if expunge else "event_type.archive"
        await trail.note(link, given, caller, done, name)
    return nothing()


def name_of(request: Request) -> str:
    """Read the name in a path.

    Raises:
        NotFound: It can be none.
    """
    name: str = request.path_params[_PARAMETER]
    if not EVENT_TYPE_PATTERN.match(name):
        raise NotFound(KIND)
    return name


async def find_seen(link: Link, caller: Caller, name: str) -> EventType:
    """Find an event type, archived or not.

    Raises:
        NotFound: There is none, or it is not there for the caller.
    """
    found = await store.find(link, caller.environment_id, name)
    if found is None or not _is_seen(found, caller):
        raise NotFound(KIND)
    return found


async def lock(link: Link, caller: Caller, name: str) -> EventType:
    """Find an event type and keep others from changing it until the transaction ends.

    Raises:
        NotFound: There is none.
    """
    found = await store.lock(link, caller.environment_id, name)
    if found is None:
        raise NotFound(KIND)
    return found


def _is_seen(event_type: EventType, caller: Caller) -> bool:
    """Tell whether an event type is there for a caller; the statements of pages say the same."""
    if caller.feature_flags is None or event_type.feature_flags is None:
        return True
    return not set(event_type.feature_flags).isdisjoint(caller.feature_flags)
