"""What dispatchers do of tasks, statement by statement; a step of a task is one transaction.

It begins with `fence`, which also keeps the API from moving the task meanwhile.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from schema.store import days, statements
from schema.store import task as store
from schema.store.link import Link
from schema.task import ItemState, Part, PartState, Task, TaskState

_SQL = statements.load("task_step")
_FEW_LETTERS: Final = 500  # any plan is good for them
_EPOCH: Final = frozenset({"epoch"})
_ENDED: Final = frozenset({ItemState.DELIVERED, ItemState.FAILED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A task that a dispatcher holds."""

    task: Task
    owner: str
    epoch: int


class Held(NamedTuple):
    """How a task stands at the beginning of a step."""

    state: TaskState
    items: int
    open: int
    started_at: datetime | None


class Lane(NamedTuple):
    """How an endpoint stands; None is no rate."""

    state: str
    deleted: bool
    rate: int | None


class NewItem(NamedTuple):
    """An item as it is chosen."""

    app_id: str
    message_id: str
    endpoint_id: str
    letter_id: str | None
    run: int | None
    state: ItemState
    detail: str = ""


class Result(NamedTuple):
    """An item that stands elsewhere now."""

    number: int
    part: int
    app_id: str
    endpoint_id: str
    letter_id: str | None
    state: ItemState


async def claim(
    link: Link, owner: str, *, most: int, lease_s: float, now: datetime, held: Collection[str]
) -> list[Lease]:
    """Take tasks that are due and that nobody holds."""
    rows = await link.fetch(_SQL["claim"], owner, most, lease_s, now, list(held))
    return [
        Lease(task=store.noun(row, leave=_EPOCH), owner=owner, epoch=row["epoch"]) for row in rows
    ]


async def fence(link: Link, lease: Lease, lease_s: float) -> Held | None:
    """Hold a task for some seconds more; None if it is not ours any more."""
    row = await link.fetchrow(_SQL["fence"], lease.task.id, lease.owner, lease.epoch, lease_s)
    if row is None:
        return None
    return Held(TaskState(row["state"]), row["items"], row["open"], row["started_at"])


async def release(link: Link, lease: Lease) -> None:
    """Give a task back."""
    await link.execute(_SQL["release"], lease.task.id, lease.owner, lease.epoch)


async def release_all(link: Link, owner: str) -> None:
    """Give back all that a dispatcher holds."""
    await link.execute(_SQL["release_all"], owner)


async def begin(link: Link, task_id: str, *, at: datetime, total: int | None, exact: bool) -> None:
    """Note that a task has begun, and how much there is to do."""
    await link.execute(_SQL["begin"], task_id, at, total, exact)


async def set_result(link: Link, task_id: str, result: Mapping[str, Any]) -> None:
    """Note what a task found out."""
    await link.execute(_SQL["set_result"], task_id, result)


async def end(link: Link, task_id: str, state: TaskState, *, at: datetime, why: str) -> None:
    """Note that a task has ended."""
    await link.execute(_SQL["end"], task_id, at, state, why)


async def lanes_of_letters(
    link: Link,
    environment_id: str,
    *,
    app_ids: Sequence[str] | None,
    endpoint_ids: Sequence[str] | None,
    group_ids: Sequence[str] | None,
) -> list[tuple[str, str]]:
    """Give the endpoints (app, endpoint) that may have letters."""
    wanted = (None if ids is None else list(ids) for ids in (app_ids, endpoint_ids, group_ids))
    rows = await link.fetch(_SQL["lanes_of_letters"], environment_id, *wanted)
    return [(row["app_id"], row["endpoint_id"]) for row in rows]


async def lanes_of_ids(
    link: Link, environment_id: str, letter_ids: Sequence[str], app_id: str | None
) -> list[tuple[str, str]]:
    """Give the endpoints (app, endpoint) that some letters are of."""
    rows = await link.fetch(_SQL["lanes_of_ids"], environment_id, list(letter_ids), app_id)
    return [(row["app_id"], row["endpoint_id"]) for row in rows]


async def analyse_letters(link: Link, number: int) -> bool:
    """Have statements on letters planned anew if there are many more than Postgres knows of.

    Planned for a few letters, they would go through all of an app. Tells whether it was done.
    """
    known: int = await link.fetchval(_SQL["letters_known"])
    young = number > max(known, _FEW_LETTERS) * 2
    if young:
        await link.execute(_SQL["analyse_letters"])
    return young


async def add_parts(
    link: Link, task_id: str, lanes: Sequence[tuple[str | None, str | None]]
) -> None:
    """Give a task its parts."""
    apps, endpoints = [app for app, _ in lanes], [endpoint for _, endpoint in lanes]
    await link.execute(_SQL["add_parts"], task_id, apps, endpoints)


async def open_parts(link: Link, task_id: str, *, behind: int, most: int) -> list[Part]:
    """Give the next parts of which there is more to be chosen."""
    rows = await link.fetch(_SQL["open_parts"], task_id, behind, most)
    return [store.part(row) for row in rows]


async def parts(link: Link, task_id: str, numbers: Collection[int]) -> list[Part]:
    """Give some parts."""
    rows = await link.fetch(_SQL["parts"], task_id, list(numbers))
    return [store.part(row) for row in rows]


async def stopped(link: Link, task_id: str) -> tuple[int, str]:
    """Say how many parts were stopped, and why the first was."""
    row = await link.fetchrow(_SQL["stopped"], task_id)
    return (row["number"], row["why"] or "") if row else (0, "")


async def set_part(
    link: Link, task_id: str, part: Part, *, cursor: str, state: PartState, why: str, sent: int
) -> None:
    """Note how far a part has come."""
    await link.execute(_SQL["set_part"], task_id, part.number, cursor, state, why, sent)


async def endpoint(link: Link, app_id: str, endpoint_id: str) -> Lane | None:
    """Say how an endpoint stands."""
    row = await link.fetchrow(_SQL["endpoint"], app_id, endpoint_id)
    return None if row is None else Lane(row["state"], row["deleted"], row["rate"])


async def hold(link: Link, app_id: str, endpoint_id: str, message_ids: Sequence[str]) -> None:
    """Keep deliveries from being settled until the end of the transaction."""
    number = len(message_ids)
    await link.execute(_SQL["hold"], [app_id] * number, list(message_ids), [endpoint_id] * number)


async def lock_letters(
    link: Link, app_id: str, letter_ids: Sequence[str], states: Collection[str]
) -> set[str]:
    """Keep letters from being moved by others; give those that stand as they must."""
    apps = [app_id] * len(letter_ids)
    rows = await link.fetch(_SQL["lock_letters"], apps, list(letter_ids), list(states))
    return {row["id"] for row in rows}


async def send_letters(link: Link, app_id: str, letter_ids: Sequence[str], at: datetime) -> None:
    """Put letters on their way."""
    await link.execute(_SQL["send_letters"], [app_id] * len(letter_ids), list(letter_ids), at)


async def restore(link: Link, app_id: str, letter_ids: Sequence[str]) -> None:
    """Bring messages of letters back where retention took them away."""
    await link.execute(_SQL["restore"], [app_id] * len(letter_ids), list(letter_ids))


async def owe(
    link: Link,
    app_id: str,
    endpoint_id: str,
    message_ids: Sequence[str],
    *,
    shard: int,
    failures: int,
    delivered_too: bool,
    at: datetime,
) -> dict[str, int]:
    """Owe messages to an endpoint; give the runs that were begun, by message."""
    rows = await link.fetch(
        _SQL["owe"],
        app_id,
        list(message_ids),
        endpoint_id,
        shard,
        at,
        failures,
        delivered_too,
        *days.of(message_ids),
    )
    return {row["message_id"]: row["run"] for row in rows}


async def add_items(
    link: Link, task_id: str, part: Part, items: Sequence[NewItem], *, number: int, at: datetime
) -> None:
    """Store items under `number` and the following, and count them."""
    columns = [list(column) for column in zip(*items, strict=True)]
    await link.execute(_SQL["add_items"], task_id, number, part.number, *columns, at)
    states = Counter(item.state for item in items)
    await link.execute(
        _SQL["count_items"],
        task_id,
        len(items),
        at,
        states[ItemState.SENT],
        states[ItemState.SKIPPED],
        states[ItemState.DONE],
    )


async def count_done(link: Link, task_id: str, number: int, *, at: datetime) -> None:
    """Count what was done that is no item of its own."""
    await link.execute(_SQL["count_items"], task_id, number, at, 0, 0, number)


async def watch(
    link: Link, task: Task, state: ItemState, *, behind: int, most: int, at: datetime
) -> tuple[list[Result], int | None]:
    """Look what became of open items; give the changes, and the last number that was looked at."""
    task_id = task.id
    *rows, last = await link.fetch(_SQL["watch"], task_id, state, behind, most, at)
    changed = [
        Result(
            row["number"],
            row["part"],
            row["app_id"],
            row["endpoint_id"],
            row["letter_id"],
            ItemState(row["state"]),
        )
        for row in rows
    ]
    if changed:
        await _count(link, task_id, state, changed, at)
        if task.plan.to_endpoint_id is not None:  # else settling does it
            await _note_letters(link, changed, at)
    return changed, last["number"]


async def _count(
    link: Link, task_id: str, former: ItemState, changed: Sequence[Result], at: datetime
) -> None:
    now = Counter(result.state for result in changed)
    retried = now[ItemState.RETRYING] - (len(changed) if former is ItemState.RETRYING else 0)
    await link.execute(
        _SQL["count_results"],
        task_id,
        at,
        sum(now[state] for state in _ENDED),
        now[ItemState.DELIVERED],
        retried,
        now[ItemState.FAILED],
    )
    if former is ItemState.SENT:
        tried = Counter(result.part for result in changed)
        missed = Counter(r.part for r in changed if r.state is not ItemState.DELIVERED)
        numbers = sorted(tried)
        await link.execute(
            _SQL["count_tried"],
            task_id,
            numbers,
            [tried[number] for number in numbers],
            [missed[number] for number in numbers],
        )


async def _note_letters(link: Link, changed: Sequence[Result], at: datetime) -> None:
    """Say of letters that were sent to another endpoint than their own how they stand now."""
    ended = [r for r in changed if r.letter_id is not None and r.state in _ENDED]
    if ended:
        await link.execute(
            _SQL["note_letters"],
            [result.app_id for result in ended],
            [result.letter_id for result in ended],
            [result.endpoint_id for result in ended],
            ["redelivered" if r.state is ItemState.DELIVERED else "parked" for r in ended],
            at,
        )


async def waiting(link: Link, task_id: str) -> dict[int, int]:
    """Say how many items were sent and not attempted yet, by part."""
    return {row["part"]: row["number"] for row in await link.fetch(_SQL["waiting"], task_id)}


async def discard(link: Link, letters: Sequence[tuple[str, str]], at: datetime) -> set[str]:
    """Give parked letters (app, id) up; give those that were."""
    apps, ids = [app for app, _ in letters], [ident for _, ident in letters]
    return {row["id"] for row in await link.fetch(_SQL["discard"], apps, ids, at)}


async def purge(link: Link, letters: Sequence[tuple[str, str]]) -> set[str]:
    """Delete letters (app, id) that are not on their way; give those that were."""
    apps, ids = [app for app, _ in letters], [ident for _, ident in letters]
    return {row["id"] for row in await link.fetch(_SQL["purge"], apps, ids)}
