"""Tasks, as the API makes, reads and moves them; dispatchers do them by `task_step`."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import asyncpg

from schema.store import statements
from schema.store.link import Link
from schema.store.span import Span
from schema.task import Item, ItemState, Part, PartState, Plan, Task, TaskKind, TaskState

_SQL = statements.load("task")
MOST_NUMBER: Final = 2**62
_PACED: Final = 1_000  # items, of which the pace is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which tasks of an environment are meant. None is all."""

    environment_id: str
    states: Collection[TaskState] | None = None
    kinds: Collection[TaskKind] | None = None
    app_id: str | None = None


class Pace(NamedTuple):
    """How many of a task's newest items are over, since when; None: there is none yet."""

    items: int
    since: datetime | None


async def create(link: Link, task: Task) -> str:
    """Store a new task; give its id, or that of the one with the same `job_id`.

    To be called again if it gives nothing: another transaction made that one just now.
    """
    found: str | None = None
    while found is None:
        found = await link.fetchval(
            _SQL["create"],
            task.environment_id,
            task.id,
            task.app_id,
            task.kind,
            task.state,
            task.plan.to_json(),
            task.job_id,
            task.created_at,
            task.created_by,
            task.start_at,
        )
    return found


async def by_id(link: Link, environment_id: str, task_id: str) -> Task | None:
    """Give a task."""
    row = await link.fetchrow(_SQL["by_id"], environment_id, task_id)
    return None if row is None else noun(row)


async def result(link: Link, environment_id: str, task_id: str) -> dict[str, Any] | None:
    """Give what a task found out; None if nothing, or nothing yet."""
    found: dict[str, Any] | None = await link.fetchval(_SQL["result"], environment_id, task_id)
    return found


async def page(link: Link, wanted: Choice, span: Span) -> list[Task]:
    """Give tasks in the direction of the scan."""
    rows = await link.fetch(
        _SQL[f"page_{span.way}"],
        wanted.environment_id,
        span.low,
        span.high,
        span.limit,
        None if wanted.states is None else list(wanted.states),
        None if wanted.kinds is None else list(wanted.kinds),
        wanted.app_id,
    )
    return [noun(row) for row in rows]


async def lock(link: Link, environment_id: str, task_id: str) -> TaskState | None:
    """Keep a task from being moved by others; say where it stands."""
    found = await link.fetchval(_SQL["lock"], environment_id, task_id)
    return None if found is None else TaskState(found)


async def set_state(
    link: Link, environment_id: str, task_id: str, state: TaskState, *, at: datetime, why: str = ""
) -> None:
    """Say where a task stands from now on; the caller holds its lock."""
    await link.execute(_SQL["set_state"], environment_id, task_id, state, at, why)


async def items(
    link: Link,
    task_id: str,
    *,
    behind: int | None = None,
    before: int | None = None,
    limit: int,
    states: Collection[ItemState] | None = None,
) -> list[Item]:
    """Give items by their numbers: those behind one, or the last before one."""
    way = "items_up" if before is None else "items_down"
    rows = await link.fetch(
        _SQL[way],
        task_id,
        behind or 0,
        MOST_NUMBER if before is None else before,
        limit,
        None if states is None else list(states),
    )
    return [_item(row) for row in rows]


async def pace(link: Link, task_id: str) -> Pace:
    """Say how fast a task goes on."""
    row = await link.fetchrow(_SQL["pace"], task_id, _PACED)
    return Pace(row["items"], row["since"]) if row else Pace(0, None)


async def stopped_parts(link: Link, task_id: str, *, most: int) -> list[Part]:
    """Give the endpoints that a task stopped sending to."""
    return [part(row) for row in await link.fetch(_SQL["stopped_parts"], task_id, most)]


async def prune(link: Link, before: datetime, most: int) -> int:
    """Drop up to `most` tasks that ended before; give their number."""
    return len(await link.fetch(_SQL["prune"], before, most))


def noun(row: "asyncpg.Record", leave: Collection[str] = ()) -> Task:
    """Make a task of a row with its columns; `leave` names those that are none of its own."""
    values = {name: value for name, value in row.items() if name not in leave}
    values |= {
        "kind": TaskKind(values["kind"]),
        "state": TaskState(values["state"]),
        "plan": Plan.from_json(values["plan"]),
    }
    return Task(**values)


def part(row: "asyncpg.Record") -> Part:
    """Make a part of a row with its columns."""
    return Part(**(dict(row) | {"state": PartState(row["state"])}))


def _item(row: "asyncpg.Record") -> Item:
    return Item(**(dict(row) | {"state": ItemState(row["state"])}))
