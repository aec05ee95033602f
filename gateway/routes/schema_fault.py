"""Where payloads were not as an event type's schema says: `.../{event_type_name}/schema-fault`."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller
from gateway.parts import parts
from gateway.routes.event_type import KIND, ONE, name_of
from gateway.routing import AnyOperation, Operation
from schema.errors import NotFound
from schema.store import event_type, schema_fault
from schema.store.link import Link
from schema.store.schema_fault import Place

_ALL: Final = f"{ONE}/schema-fault"


def routes() -> list[AnyOperation]:
    """List the operations on what was wrong with payloads."""
    return [
        Operation(method="GET", path=_ALL, access=Access.OPERATOR, handler=list_faults),
        Operation(method="DELETE", path=_ALL, access=Access.OPERATOR, handler=clear),
    ]


async def list_faults(request: Request, caller: Caller) -> Response:
    """Give where payloads went wrong, the last first; there are no more than 100 places."""
    name = name_of(request)
    await parts(request).catalogue.write()
    async with parts(request).connection() as link:
        await _find(link, caller, name)
        found = await schema_fault.of_event_type(link, caller.environment_id, name)
    return answer(
        {
            "data": [_show(place) for place in found],
            "iterator": None,
            "prevIterator": None,
            "done": True,
        }
    )


async def clear(request: Request, caller: Caller) -> Response:
    """Forget them, such as after the producer was mended."""
    given = parts(request)
    name = name_of(request)
    async with given.transaction() as link:
        await _find(link, caller, name)
        await schema_fault.clear(link, caller.environment_id, name)
        await trail.note(link, given, caller, "event_type.clear_faults", name)
    return nothing()


async def _find(link: Link, caller: Caller, name: str) -> None:
    if await event_type.find(link, caller.environment_id, name) is None:
        raise NotFound(KIND)


def _show(place: Place) -> dict[str, object]:
    return {
        "pointer": place.pointer,
        "rule": place.rule,
        "detail": place.detail,
        "schemaVersion": place.version,
        "schemaMode": place.mode,
        "times": place.times,
        "firstAt": place.first_at,
        "lastAt": place.last_at,
        "messageId": place.message_id,
    }
