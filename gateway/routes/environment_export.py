"""An environment's event types and settings, out as one document and in again."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.body import TYPE_FAULT, Fields, read_fields
from gateway.event_type_fields import fresh, read_name, replaced
from gateway.parts import Parts, parts
from gateway.routes.environment_settings import lock_own
from gateway.routes.event_type import show
from gateway.routing import AnyOperation, Operation
from gateway.settings_fields import read_settings
from schema.environment_settings import RETRY_POLICY
from schema.errors import FieldFault, Invalid
from schema.event_type import EventType
from schema.store import environment as environments
from schema.store import event_type as event_types
from schema.store import policy
from schema.store.link import Link

MOST_TYPES: Final = 5_000  # of one import
_VERSION: Final = 1
_PAGE: Final = 500
_EXPORT: Final = "/api/v1/environment/export"
_IMPORT: Final = "/api/v1/environment/import"


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [
        Operation(
            method="POST", path=_EXPORT, access=Access.OPERATOR, handler=export, writes=False
        ),
        Operation(method="POST", path=_IMPORT, access=Access.OPERATOR, handler=take_over),
    ]


async def export(request: Request, caller: Caller) -> Response:
    """Give the event types and settings of the caller's environment."""
    given = parts(request)
    async with given.transaction() as link:
        environment = await lock_own(link, caller)
        found = await _event_types(link, caller.environment_id)
    settings = dict(environment.settings)
    if environment.retry_policy is not None:
        settings[RETRY_POLICY] = policy.write(environment.retry_policy)
    return answer(
        {
            "version": _VERSION,
            "createdAt": given.clock(),
            "eventTypes": [show(one) for one in found],
            "settings": settings,
            "connectors": [],
        }
    )


async def take_over(request: Request, caller: Caller) -> Response:
    """Make and change what a document has, all of it or nothing; delete nothing."""
    given = parts(request)
    fields = await read_fields(request)
    listed = _list(fields, "eventTypes")
    if _list(fields, "connectors"):
        fields.fault("connectors", "there are no connectors here: leave them out")
    settings = fields.raw("settings")
    fields.check()
    async with given.transaction() as link:
        faults = await _take_types(link, given, caller, listed)
        faults += await _take_settings(link, given, caller, settings)
        if faults:
            raise Invalid(faults)
        ident = caller.environment_id
        await trail.note(link, given, caller, "environment.import", ident, types=len(listed))
    return nothing()


async def _event_types(link: Link, environment_id: str) -> list[EventType]:
    found: list[EventType] = []
    behind = ""
    while page := await event_types.export(link, environment_id, behind=behind, most=_PAGE):
        found += page
        behind = page[-1].name
    return found


def _list(fields: Fields, name: str) -> list[Any]:
    value = fields.raw(name)
    if value is None:
        return []
    if not isinstance(value, list):
        fields.fault(name, "a list is expected", fault_type=TYPE_FAULT)
        return []
    if len(value) > MOST_TYPES:
        fields.fault(name, f"at most {MOST_TYPES} expected")
    return value


async def _take_types(
    link: Link, given: Parts, caller: Caller, listed: list[Any]
) -> list[FieldFault]:
    """Write event types; give what is wrong with them, and then nothing counts."""
    items = [Fields(item, "body", "eventTypes", f"[{n}]") for n, item in enumerate(listed)]
    names = [read_name(fields) for fields in items]
    present = await event_types.lock_some(link, caller.environment_id, set(names))
    made = dict[str, EventType]()
    for name, fields in zip(names, items, strict=True):
        known = present.get(name)
        if name in made:
            fields.fault("name", "the document has this event type twice: leave one out")
        elif known is None:
            made[name] = fresh(caller.environment_id, name, fields, given.clock())
        else:
            made[name] = replaced(known, fields, given.clock())
    faults = [fault for fields in items for fault in fields.faults]
    if not faults:
        await event_types.upsert_all(link, list(made.values()))
    return faults


async def _take_settings(
    link: Link, given: Parts, caller: Caller, settings: object
) -> list[FieldFault]:
    if settings is None:
        return []
    fields = Fields(settings, "body", "settings")
    present = await lock_own(link, caller)
    changed = read_settings(fields, present, given.clock(), replaces=False)
    if not fields.faults:
        await environments.update(link, changed)
    return fields.faults
