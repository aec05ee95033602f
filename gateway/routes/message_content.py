"""What messages hold: shown as it was published, and expunged, of one, of some or of all of an app.

Expunging forgets payloads for good, in dead letters too, and calls off what is still owed of them.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import ring, tasks, trail
from gateway.answer import answer, nothing
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.locate import find_message, find_stored
from gateway.parts import Parts, parts
from gateway.redeliver import in_transaction
from gateway.routes.background_task import show as show_task
from gateway.routes.message import ALL, ONE
from gateway.routing import AnyOperation, Operation
from schema.app import App
from schema.errors import BadState, NotFound
from schema.event import UID_PATTERN
from schema.store import expunge as store
from schema.store.link import Link
from schema.task import Plan, TaskKind

MOST: Final = 1_000  # messages of a request


def routes() -> list[AnyOperation]:
    """List the operations on contents."""
    return [
        Operation(method="GET", path=f"{ONE}/raw", access=Access.TENANT, handler=get_raw),
        Operation(method="DELETE", path=f"{ONE}/content", access=Access.OPERATOR, handler=expunge),
        Operation(
            method="POST", path=f"{ALL}/bulk-expunge", access=Access.OPERATOR, handler=expunge_some
        ),
        Operation(
            method="POST",
            path=f"{ALL}/expunge-all-contents",
            access=Access.OPERATOR,
            handler=expunge_all,
        ),
    ]


async def get_raw(request: Request, caller: Caller) -> Response:
    """Give a payload as a text, byte by byte as it was published."""
    app = await resolve_app(request, caller)
    message = await find_message(parts(request), app.id, request.path_params["msg_id"])
    if message.payload is None:
        raise BadState("The payload was expunged.", code="missing_payload")
    return answer({"payload": message.payload.decode(errors="replace")})


async def expunge(request: Request, caller: Caller) -> Response:
    """Forget a payload."""
    given = parts(request)
    app = await resolve_app(request, caller)
    message = await find_stored(given, app.id, request.path_params["msg_id"])
    await _expunge(given, caller, app, [message.id])
    return nothing()


async def expunge_some(request: Request, caller: Caller) -> Response:
    """Forget some payloads, and say of each message whether it was there."""
    given = parts(request)
    app = await resolve_app(request, caller)
    fields = await read_fields(request, optional=True)
    refs = fields.optional_texts("ids", pattern=UID_PATTERN, min_items=0, max_items=MOST) or ()
    fields.check()
    found = await _find(given, app, refs)
    await _expunge(given, caller, app, sorted(set(found.values())))
    results = {ref: "expunged" if ref in found else "not-found" for ref in refs}
    return answer({"results": results})


async def expunge_all(request: Request, caller: Caller) -> Response:
    """Forget the payloads of all messages that the app has now, as a task."""
    given = parts(request)
    app = await resolve_app(request, caller)
    drafted = tasks.draft(given, caller, app, TaskKind.PURGE_CONTENT, Plan())
    made = await tasks.make(given, caller, drafted)
    return answer(show_task(made), 202)


async def _find(given: Parts, app: App, refs: tuple[str, ...]) -> dict[str, str]:
    async with given.connection() as link:
        found = await store.find(link, app.id, refs)
    for ref in refs:
        if ref not in found:  # perhaps accepted just now
            try:
                found[ref] = (await find_stored(given, app.id, ref)).id
            except NotFound:
                continue
    return found


async def _expunge(given: Parts, caller: Caller, app: App, message_ids: list[str]) -> None:
    at = given.clock()

    async def write(link: Link) -> None:
        _, endpoints = await store.expunge(link, app.id, message_ids, at)
        await ring.recall(link, given, app.id, *endpoints)
        told = {"cancelled": len(endpoints)} if len(message_ids) == 1 else {}
        for ident in message_ids:
            await trail.note(link, given, caller, "message.expunge", ident, **told)

    await in_transaction(given, write)
    for ident in message_ids:
        given.publisher.recent.forget(app.id, ident)
    await ring.ring(given, app.id)
