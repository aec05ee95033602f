"""What tasks found out or made: page by page, given up when too large, told when they end."""

import orjson
import pytest

from dispatcher import task_count, task_told
from schema.ids import APP
from schema.store import task as store
from schema.store.link import Pool
from schema.task import Publication, TaskKind, TaskState
from tests import tasks
from tests.dispatching import World, dispatching, eventually, new_world, now
from tests.operators import listening
from tests.services import Services

pytestmark = pytest.mark.usefixtures("stream")


async def result_of(world: World, task_id: str) -> dict[str, list[dict[str, object]]] | None:
    async with world.pool.acquire() as link:
        return await store.result(link, world.environment_id, task_id)


async def published(world: World, kind: str) -> dict[str, object]:
    """Wait for an operational event of a kind; give its data."""
    sql = "SELECT payload FROM message WHERE event_type = $1"

    async def there() -> bool:
        return await world.pool.fetchval(sql, kind) is not None

    await eventually(there)
    return dict(orjson.loads(await world.pool.fetchval(sql, kind))["data"])


async def test_all_pages_are_counted_and_operators_are_told(
    pool: Pool, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_count, "APPS", 2)
    world = await new_world(pool)
    apps = sorted([await world.app() for _ in range(5)])
    await listening(world)
    async with dispatching(pool, services.nats_url) as running:
        task = await tasks.start(
            world, running, kind=TaskKind.APP_STATS, letters=None, since=now(), until=now()
        )

        found = await tasks.ended(world, task)
        said = await published(world, "background_task.finished")

    assert found.state is TaskState.FINISHED
    result = await result_of(world, task.id)
    assert result is not None
    assert [one["appId"] for one in result["appStats"]] == apps
    assert all(app.startswith(APP) for app in apps)
    assert said == {
        "taskId": task.id, "task": "application.stats", "status": "finished", "data": result
    }  # fmt: skip


@pytest.mark.parametrize(("most", "named"), [(65_536, True), (100, False)])
async def test_operators_are_told_which_messages_a_broadcast_made_if_they_are_not_too_many(
    pool: Pool, services: Services, monkeypatch: pytest.MonkeyPatch, most: int, *, named: bool
) -> None:
    monkeypatch.setattr(task_told, "_MOST_BYTES", most)
    world = await new_world(pool)
    apps = sorted([await world.app() for _ in range(2)])
    await listening(world)
    what = Publication(event_type="a.b", event_id=None, payload="{}", headers={})
    async with dispatching(pool, services.nats_url) as running:
        await tasks.start(world, running, kind=TaskKind.BROADCAST, letters=None, publication=what)

        said = await published(world, "background_task.finished")
        found = await pool.fetch("SELECT app_id, id FROM message WHERE event_type = 'a.b'")

    made = {row["app_id"]: row["id"] for row in found}
    created = [{"appId": app_id, "msgId": made[app_id]} for app_id in apps]
    lists = {"messagesCreated": created, "messagesFailed": []} if named else {}
    assert said["data"] == {"messagesSent": 2} | lists


async def test_a_result_that_is_too_large_is_given_up(
    pool: Pool, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_count, "APPS", 1)
    monkeypatch.setattr(task_count, "MOST_BYTES", 100)
    world = await new_world(pool)
    for _ in range(3):
        await world.app()
    async with dispatching(pool, services.nats_url) as running:
        task = await tasks.start(world, running, kind=TaskKind.EVENT_TYPES, letters=None)

        found = await tasks.ended(world, task)

    assert found.state is TaskState.FAILED
    assert "name fewer apps" in found.why
    assert await result_of(world, task.id) == {}


async def test_one_that_is_paused_counts_when_it_is_resumed(pool: Pool, services: Services) -> None:
    world = await new_world(pool)
    task = await tasks.start(world, kind=TaskKind.EVENT_TYPES, letters=None)
    async with pool.acquire() as link:
        await store.set_state(link, world.environment_id, task.id, TaskState.PAUSED, at=now())
    async with dispatching(pool, services.nats_url) as running:
        other = await tasks.start(world, running, kind=TaskKind.EVENT_TYPES, letters=None)
        await tasks.ended(world, other)
        paused = await tasks.seen(world, task)

        await tasks.move(world, task, TaskState.RUNNING, running)
        found = await tasks.ended(world, task)

    assert (paused.state, paused.started_at) == (TaskState.PAUSED, None)
    assert found.state is TaskState.FINISHED
