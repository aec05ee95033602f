"""Tasks: `/api/v1/task`, of all of an environment; `/api/v1/app/{app_id}/task`, of one app.

How one is shown stands in `gateway.tasks`. Lists are newest first and take `state` and `kind`, and
across the environment `app_id`. What became of each letter or message is listed under `item`, in
the order in which they were chosen, and takes `state`:

    number, appId, messageId, endpointId, letterId
    state     sent, retrying, delivered, failed (dead again), skipped, or done (discarded, purged)
    detail    why it failed or was skipped
    at        since when
"""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway import ring, tasks, trail
from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.cursor import envelope, read_page
from gateway.letters import read_choices, resolve_scope
from gateway.parts import Parts, parts
from gateway.query import Query
from gateway.routing import AnyOperation, Handler, Operation
from gateway.window import is_key, plain
from schema import event, ids
from schema.api_key import Capability
from schema.errors import Conflict
from schema.store import task as store
from schema.store.task import Choice
from schema.task import TASK_MOVES, Item, ItemState, Task, TaskKind, TaskState

EVERYWHERE: Final = "/api/v1/task"
ALL: Final = "/api/v1/app/{app_id}/task"
MOST_STOPPED: Final = 100
_LONGEST_NUMBER: Final = 18
_WORDS: Final = ("pause", "resume", "cancel")


def routes() -> list[AnyOperation]:
    """List the operations on tasks."""
    found: list[AnyOperation] = []
    for above, access in ((ALL, Access.TENANT), (EVERYWHERE, Access.OPERATOR)):
        one = f"{above}/{{task_id}}"
        handlers: list[tuple[str, str, Handler]] = [
            ("GET", above, list_tasks),
            ("GET", one, get),
            ("GET", f"{one}/item", list_items),
            *(("POST", f"{one}/{word}", partial(move, word)) for word in _WORDS),
        ]
        found += [
            Operation(
                method=method,
                path=path,
                access=access,
                handler=handler,
                capability=Capability.CREATE_ATTEMPTS if method == "POST" else None,
            )
            for method, path, handler in handlers
        ]
    return found


async def list_tasks(request: Request, caller: Caller) -> Response:
    """Give a page of the tasks of an app, or of an environment."""
    given, query = parts(request), Query(request)
    page = read_page(request, default_ascending=False, check=lambda key: is_key(ids.TASK, key))
    app = await resolve_scope(request, caller)
    states = read_choices(query, "state", tuple(TaskState))
    kinds = read_choices(query, "kind", tuple(TaskKind))
    app_id = None if app is None else app.id
    ref = query.text("app_id", pattern=event.UID_PATTERN) if app is None else None
    query.check()
    if ref is not None:
        app_id = (await given.apps.find(caller.environment_id, ref)).id
    wanted = Choice(
        environment_id=caller.environment_id,
        states=None if states is None else [TaskState(state) for state in states],
        kinds=None if kinds is None else [TaskKind(kind) for kind in kinds],
        app_id=app_id,
    )
    async with given.connection() as link:
        rows = await store.page(link, wanted, plain(page))
    return answer(envelope(rows, page, lambda task: task.id, tasks.show))


async def get(request: Request, caller: Caller) -> Response:
    """Give a task, with how it comes along."""
    app = await resolve_scope(request, caller)
    async with parts(request).connection() as link:
        found = await tasks.find(link, request, caller, app)
    return answer(await _whole(parts(request), found))


async def list_items(request: Request, caller: Caller) -> Response:
    """Give a page of what became of each."""
    query = Query(request)
    page = read_page(request, default_ascending=True, check=_is_number)
    states = read_choices(query, "state", tuple(ItemState))
    query.check()
    app = await resolve_scope(request, caller)
    number = None if page.iterator is None else int(page.iterator)
    async with parts(request).connection() as link:
        found = await tasks.find(link, request, caller, app)
        rows = await store.items(
            link,
            found.id,
            behind=number if page.scans_up else None,
            before=None if page.scans_up else number or store.MOST_NUMBER,
            limit=page.fetch,
            states=None if states is None else [ItemState(state) for state in states],
        )
    return answer(envelope(rows, page, lambda item: str(item.number), _show_item))


async def move(word: str, request: Request, caller: Caller) -> Response:
    """Pause, resume or cancel a task.

    Raises:
        Conflict: It stands so that it cannot be.
    """
    given = parts(request)
    app = await resolve_scope(request, caller)
    async with given.transaction() as link:
        found = await tasks.find(link, request, caller, app)
        await store.lock(link, found.environment_id, found.id)
        found = await tasks.find(link, request, caller, app)  # as it stands by now
        to = _target(word, found)
        if to not in TASK_MOVES[found.state]:
            raise Conflict(f"The task is {found.state}: it cannot be {_done(word)}.", "bad_state")
        at = given.clock()
        await store.set_state(link, found.environment_id, found.id, to, at=at)
        await trail.note(link, given, caller, f"task.{word}", found.id)
    await ring.ring_tasks(given)
    async with given.connection() as link:
        found = await tasks.find(link, request, caller, app)
    return answer(await _whole(given, found))


async def _whole(given: Parts, task: Task) -> dict[str, object]:
    async with given.connection() as link:
        pace = await store.pace(link, task.id)
        stopped = await store.stopped_parts(link, task.id, most=MOST_STOPPED)
    return tasks.show_whole(task, pace, stopped, given.clock())


def _target(word: str, task: Task) -> TaskState:
    """Say where a task goes; one that never began waits for its time again."""
    if word == "pause":
        return TaskState.PAUSED
    if word == "cancel":
        return TaskState.CANCELLED
    if task.state is not TaskState.PAUSED:
        return task.state  # from where no move leads
    return TaskState.SCHEDULED if task.started_at is None else TaskState.RUNNING


def _done(word: str) -> str:
    return {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}[word]


def _show_item(item: Item) -> dict[str, object]:
    return {
        "number": item.number,
        "appId": item.app_id,
        "messageId": item.message_id,
        "endpointId": item.endpoint_id,
        "letterId": item.letter_id,
        "state": item.state,
        "detail": item.detail,
        "at": item.at,
    }


def _is_number(key: str) -> bool:
    return key.isascii() and key.isdigit() and len(key) <= _LONGEST_NUMBER
