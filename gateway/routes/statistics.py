"""What is counted across apps: `/api/v1/stats/...`, as background tasks."""

from dataclasses import replace
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import tasks
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.body import read_fields
from gateway.parts import parts
from gateway.routes.background_task import show
from gateway.routing import AnyOperation, Operation
from gateway.task_fields import read_span
from schema.errors import FieldFault, Invalid
from schema.event import UID_PATTERN
from schema.store import app as apps
from schema.task import Plan, TaskKind

MOST_APPS: Final = 1_000  # that a request may name
_APPS: Final = "/api/v1/stats/usage/app"
_EVENT_TYPES: Final = "/api/v1/stats/usage/event-types"


def routes() -> list[AnyOperation]:
    """List the operations."""
    return [
        Operation(
            method="POST",
            path=_APPS,
            access=Access.OPERATOR,
            handler=count_attempts,
            writes=False,
        ),
        Operation(
            method="PUT",
            path=_EVENT_TYPES,
            access=Access.OPERATOR,
            handler=list_event_types,
            writes=False,
        ),
    ]


async def count_attempts(request: Request, caller: Caller) -> Response:
    """Have the attempts of a time counted for each app."""
    given = parts(request)
    fields = await read_fields(request)
    plan = read_span(fields, None, given.clock(), longest=None)
    fields.require("until")
    refs = fields.optional_texts("appIds", pattern=UID_PATTERN, min_items=0, max_items=MOST_APPS)
    fields.check()
    unresolved: list[str] = []
    if refs:
        async with given.connection() as link:
            found = await apps.named(link, caller.environment_id, refs)
        if not found:
            raise Invalid([FieldFault(loc=("body", "appIds"), msg="there is none of these apps")])
        unresolved = [ref for ref in refs if ref not in found]
        plan = replace(plan, app_ids=tuple(sorted(set(found.values()))))
    kind = TaskKind.APP_STATS
    made = await tasks.make(given, caller, tasks.draft(given, caller, None, kind, plan))
    return answer(show(made) | {"unresolvedAppIds": unresolved}, 202)


async def list_event_types(request: Request, caller: Caller) -> Response:
    """Have the event types listed that the endpoints of each app ask for."""
    given = parts(request)
    drafted = tasks.draft(given, caller, None, TaskKind.EVENT_TYPES, Plan())
    return answer(show(await tasks.make(given, caller, drafted)), 202)
