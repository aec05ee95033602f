"""Work on many dead letters, as tasks: `/api/v1/app/{app_id}/dead-letter/redeliver`, and so on.

Which letters: what the query means, as in lists (`gateway.letters`), or `letterIds` in the body.
What else the body says stands in `gateway.task_fields`. The answer is the task (`gateway.tasks`):
202, or 200 if it was made before of the same `jobId`.

With `dryRun` it is 200 and what would be done:

    count, atLeast     how many letters; whether there may be more
    endpoints          the 100 with the most: appId, endpointId, count, oldestAt, bytes, blocked
    endpointCount, otherCount    of all endpoints; how many letters those not listed have
    oldestAt, bytes
    blocked            how many cannot be done, by why: endpoint_disabled, endpoint_deleted,
                       endpoint_paused (they wait until it is resumed), missing_payload,
                       redelivering, not_parked
    estimatedSeconds   null if nobody knows
"""

from dataclasses import replace
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import tasks
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.body import Fields, read_fields
from gateway.letters import FILTERS, Gate, read_filter, resolve_scope
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.routes.dead_letter import ALL, EVERYWHERE
from gateway.routing import AnyOperation, Operation
from gateway.task_fields import Wish, read_wish
from schema.api_key import Capability
from schema.app import App
from schema.store import endpoint
from schema.store import task_preview as store
from schema.store.dead_letter import Filter
from schema.store.task_preview import Line, Preview
from schema.task import Plan, Task, TaskKind

_WORDS: Final = {
    "redeliver": TaskKind.REDELIVER,
    "discard": TaskKind.DISCARD,
    "purge": TaskKind.PURGE,
}


def routes() -> list[AnyOperation]:
    """List the operations on many letters."""
    gate = Gate()
    return [
        Operation(
            method="POST",
            path=f"{above}/{word}",
            access=access,
            handler=partial(ask, gate, kind),
            capability=Capability.CREATE_ATTEMPTS if kind is TaskKind.REDELIVER else None,
        )
        for above, access in ((ALL, Access.TENANT), (EVERYWHERE, Access.OPERATOR))
        for word, kind in _WORDS.items()
    ]


async def ask(gate: Gate, kind: TaskKind, request: Request, caller: Caller) -> Response:
    """Make a task of what is asked, or say what it would do."""
    given = parts(request)
    fields = await read_fields(request, optional=True)
    app = await resolve_scope(request, caller)
    wish = read_wish(fields, kind, given.clock(), one_app=app is not None)
    plan = await _plan(request, caller, app, fields, wish)
    task = tasks.draft(given, caller, app, kind, plan, job_id=wish.job_id, start_at=wish.start_at)
    if wish.dry_run:
        return answer(_show(await _preview(gate, given, task)))
    made = await tasks.make(given, caller, task)
    return answer(tasks.show(made), 202 if made.id == task.id else 200)


async def _plan(
    request: Request, caller: Caller, app: App | None, fields: Fields, wish: Wish
) -> Plan:
    """Look up what is asked for.

    Raises:
        Invalid: There is no such letter or endpoint, or letters are chosen in two ways.
    """
    given, plan = parts(request), wish.plan
    if plan.letter_ids is None:
        query = Query(request)
        for name in query.names() - FILTERS:  # of a misspelt filter nobody means all letters
            query.fault(name, "is no filter of dead letters")
        for name in query.empty():
            query.fault(name, "is empty: leave it out to mean all")
        wanted = await read_filter(request, query, caller, app)
        plan = replace(plan, letters=wanted)
    else:
        await _check_letters(request, caller, app, fields, plan.letter_ids)
    if wish.to is not None and app is not None:
        async with given.connection() as link:
            found = await endpoint.find(link, app.id, wish.to)
        if found is None:
            fields.fault("toEndpointId", "the application has no such endpoint")
        else:
            plan = replace(plan, to_endpoint_id=found.id)
    fields.check()
    return plan


async def _check_letters(
    request: Request,
    caller: Caller,
    app: App | None,
    fields: Fields,
    letter_ids: tuple[str, ...],
) -> None:
    if request.query_params:
        fields.fault("letterIds", "go without a filter in the query")
        return
    app_id = None if app is None else app.id
    async with parts(request).connection() as link:
        lost = await store.missing(link, caller.environment_id, app_id, letter_ids)
    if lost is not None:
        fields.fault("letterIds", f"there is no letter {lost}")


async def _preview(gate: Gate, given: Parts, task: Task) -> Preview:
    wanted = task.plan.letters or Filter(environment_id=task.environment_id)
    async with gate.search(given, wanted) as link:
        return await store.preview(link, task, given.clock())


def _show(found: Preview) -> dict[str, object]:
    return {
        "count": found.letters,
        "atLeast": not found.exact,
        "endpoints": [_show_line(line) for line in found.lines],
        "endpointCount": found.endpoints,
        "otherCount": found.others,
        "oldestAt": found.oldest_at,
        "bytes": found.size_bytes,
        "blocked": found.blocked,
        "estimatedSeconds": None if found.duration_s is None else round(found.duration_s, 1),
    }


def _show_line(line: Line) -> dict[str, object]:
    return {
        "appId": line.app_id,
        "endpointId": line.endpoint_id,
        "count": line.letters,
        "oldestAt": line.oldest_at,
        "bytes": line.size_bytes,
        "blocked": line.blocked,
    }
