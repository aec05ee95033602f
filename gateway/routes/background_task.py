"""Svix's background tasks: recoveries, replays, statistics; `/api/v1/background-task`.

They are tasks as all others (`gateway.tasks`), shown here in Svix's words: `running` is whatever
has not ended, `failed` also what was cancelled.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import tasks
from gateway.answer import answer
from gateway.auth import Access, Caller, resolve_app
from gateway.body import read_fields
from gateway.cursor import envelope, read_page
from gateway.parts import parts
from gateway.query import Query
from gateway.routes.endpoint import ONE as ENDPOINT
from gateway.routes.endpoint import find_endpoint
from gateway.routing import AnyOperation, Operation
from gateway.task_fields import LONGEST_RECOVERY, read_messages, read_span
from gateway.window import is_key, plain
from schema import ids
from schema.api_key import Capability
from schema.errors import NotFound
from schema.store import task as store
from schema.store.link import Link
from schema.store.task import Choice
from schema.task import (
    COUNTING,
    MOST_NAMED,
    OF_LETTERS,
    Task,
    TaskKind,
    TaskState,
    messages_of,
    numbers_of,
)

ALL: Final = "/api/v1/background-task"
ONE: Final = f"{ALL}/{{task_id}}"
KINDS: Final = tuple(kind for kind in TaskKind if kind not in OF_LETTERS)
_WORDS: Final = {
    "recover": TaskKind.RECOVER,
    "replay-missing": TaskKind.REPLAY,
    "bulk-replay": TaskKind.BULK_REPLAY,
}
STATUSES: Final[Mapping[str, tuple[TaskState, ...]]] = {
    "running": (TaskState.SCHEDULED, TaskState.RUNNING, TaskState.PAUSED),
    "finished": (TaskState.FINISHED,),
    "failed": (TaskState.FAILED, TaskState.CANCELLED),
}
_STATUS_OF: Final = {state: status for status, states in STATUSES.items() for state in states}


def routes() -> list[AnyOperation]:
    """List the operations on background tasks."""
    begin = [
        Operation(
            method="POST",
            path=f"{ENDPOINT}/{word}",
            access=Access.TENANT,
            handler=partial(start, kind),
            capability=Capability.CREATE_ATTEMPTS,
        )
        for word, kind in _WORDS.items()
    ]
    return [
        *begin,
        Operation(method="GET", path=ALL, access=Access.OPERATOR, handler=list_tasks),
        Operation(method="GET", path=ONE, access=Access.OPERATOR, handler=get),
    ]


async def start(kind: TaskKind, request: Request, caller: Caller) -> Response:
    """Make a task on messages of an endpoint."""
    given = parts(request)
    app = await resolve_app(request, caller)
    async with given.connection() as link:
        endpoint = await find_endpoint(link, request, app)
    fields = await read_fields(request)
    longest = LONGEST_RECOVERY if kind is TaskKind.RECOVER else None
    plan = read_span(fields, endpoint.id, given.clock(), longest=longest)
    if kind is TaskKind.BULK_REPLAY:
        chosen: dict[str, Any] = read_messages(fields)
        plan = replace(plan, **chosen)
    fields.check()
    made = await tasks.make(given, caller, tasks.draft(given, caller, app, kind, plan))
    return answer(show(made), 202)


async def list_tasks(request: Request, caller: Caller) -> Response:
    """Give a page of Svix's kinds of tasks, newest first."""
    query = Query(request)
    page = read_page(request, default_ascending=False, check=lambda key: is_key(ids.TASK, key))
    status = query.choice("status", tuple(STATUSES))
    kind = query.choice("task", KINDS)
    wanted = Choice(
        environment_id=caller.environment_id,
        states=None if status is None else STATUSES[status],
        kinds=KINDS if kind is None else [one for one in KINDS if one == kind],
    )
    async with parts(request).connection() as link:
        rows = await store.page(link, wanted, plain(page))
    return answer(envelope(rows, page, lambda task: task.id, _show_whole))


async def get(request: Request, caller: Caller) -> Response:
    """Give one."""
    async with parts(request).connection() as link:
        found = await tasks.find(link, request, caller, None)
        result = await _result(link, found)
    if found.kind not in KINDS:
        raise NotFound(tasks.KIND)
    return answer(_show_whole(found) | ({} if result is None else {"data": result}))


def show(task: Task) -> dict[str, object]:
    """Give what answers to whoever asks for a task."""
    return {
        "id": task.id,
        "status": _STATUS_OF[task.state],
        "task": task.kind,
        "updatedAt": task.updated_at,
    }


async def _result(link: Link, task: Task) -> Mapping[str, Any] | None:
    """Give what is told of one task alone; None if that is no more than in a list."""
    if task.kind in COUNTING:
        return await store.result(link, task.environment_id, task.id)
    if task.kind is TaskKind.BROADCAST:
        items = await store.items(link, task.id, limit=MOST_NAMED)
        return numbers_of(task) | messages_of(items)
    return None


def _show_whole(task: Task) -> dict[str, object]:
    return show(task) | {"data": {} if task.kind in COUNTING else numbers_of(task)}
