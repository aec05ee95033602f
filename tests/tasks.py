"""Letters by the hundred, and tasks on them, for tests of dispatchers."""

from dataclasses import replace
from datetime import datetime
from typing import Any

from schema import ids
from schema.event import WAKE_ROOT
from schema.store import task as store
from schema.store.dead_letter import Filter
from schema.task import Item, Plan, Task, TaskKind, TaskState
from tests.dispatching import BODY, Running, World, eventually, now

MOST = 20_000


async def letters(world: World, app_id: str, endpoint_id: str, number: int) -> list[str]:
    """Store messages that were given up for an endpoint; give their letters, oldest first."""
    messages = [ids.new_id(ids.MESSAGE, now()) for _ in range(number)]
    made = sorted(ids.new_id(ids.DEAD_LETTER, now()) for _ in range(number))
    async with world.pool.acquire() as link, link.transaction():
        await link.execute(
            """INSERT INTO message (app_id, id, event_type, payload, content_type, created_at)
               SELECT $1, id, 'a.b', $3, 'application/json', now() FROM unnest($2::text[]) AS id""",
            app_id, messages, BODY,
        )  # fmt: skip
        await link.execute(
            """INSERT INTO delivery (app_id, message_id, endpoint_id, shard, state, attempts,
                                     failures, reason, last_status, created_at)
               SELECT $1, id, $3, $4, 'dead', 3, 3, 'exhausted', 500, now()
               FROM unnest($2::text[]) AS id""",
            app_id, messages, endpoint_id, world.shard(app_id),
        )  # fmt: skip
        await link.execute(
            """INSERT INTO dead_letter (environment_id, app_id, id, message_id, endpoint_id, reason,
                                        event_type, payload, content_type, url, status, detail,
                                        fingerprint, attempts, message_at, parked_at, updated_at)
               SELECT $1, $2, l.id, m.id, $5, 'exhausted', 'a.b', $6, 'application/json',
                      'http://there', 500, '', 'f', 3, now(), now(), now()
               FROM unnest($3::text[]) WITH ORDINALITY AS l(id, n)
               JOIN unnest($4::text[]) WITH ORDINALITY AS m(id, n) USING (n)""",
            world.environment_id, app_id, made, messages, endpoint_id, BODY,
        )  # fmt: skip
    return made


async def states(world: World) -> dict[str, int]:
    """Count the letters by state."""
    rows = await world.pool.fetch("SELECT state, count(*) FROM dead_letter GROUP BY state")
    return {row["state"]: row["count"] for row in rows}


async def start(
    world: World,
    running: Running | None = None,
    *,
    kind: TaskKind = TaskKind.REDELIVER,
    app_id: str | None = None,
    at: datetime | None = None,
    **plan: Any,
) -> Task:
    """Make a task of an environment, or of an app, at a time (now, without), and ring."""
    at = at or now()
    if plan.keys().isdisjoint({"letters", "letter_ids", "endpoint_id"}):
        scope = None if app_id is None else (app_id,)
        plan["letters"] = Filter(environment_id=world.environment_id, app_ids=scope)
    task = Task(
        environment_id=world.environment_id,
        id=ids.new_id(ids.TASK, at),
        app_id=app_id,
        kind=kind,
        state=TaskState.SCHEDULED,
        plan=Plan(**plan),
        created_at=at,
        start_at=at,
        updated_at=at,
    )
    async with world.pool.acquire() as link:
        await store.create(link, task)
    if running is not None:
        await running.bus.publish(f"{WAKE_ROOT}.tasks", b"")
    return task


async def move(world: World, task: Task, state: TaskState, running: Running | None = None) -> None:
    """Pause, resume or cancel a task, and ring."""
    async with world.pool.acquire() as link, link.transaction():
        await store.lock(link, task.environment_id, task.id)
        await store.set_state(link, task.environment_id, task.id, state, at=now())
    if running is not None:
        await running.bus.publish(f"{WAKE_ROOT}.tasks", b"")


async def seen(world: World, task: Task) -> Task:
    """Give a task as it stands."""
    async with world.pool.acquire() as link:
        found = await store.by_id(link, task.environment_id, task.id)
    assert found is not None
    return replace(found)


async def ended(world: World, task: Task, *, within_s: float = 20.0) -> Task:
    """Wait until a task has ended, and all that it sent; give it."""

    async def is_over() -> bool:
        at_present = await seen(world, task)
        return at_present.ended_at is not None and not at_present.open

    await eventually(is_over, within_s=within_s)
    return await seen(world, task)


async def items(world: World, task: Task) -> list[Item]:
    """Give what became of each."""
    async with world.pool.acquire() as link:
        return await store.items(link, task.id, limit=MOST)
