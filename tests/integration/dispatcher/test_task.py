"""Tasks: redelivered by plan, survived by others, stopped when asked to."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from nats.aio.client import Client

from dispatcher.task_run import Run
from schema import ids
from schema.dead_letter import LetterState
from schema.store import task_step
from schema.store.dead_letter import Filter
from schema.store.link import Pool
from schema.task import ItemState, TaskKind, TaskState
from tests.dispatching import (
    Running,
    World,
    config,
    dispatcher,
    dispatching,
    eventually,
    now,
    publish,
)
from tests.lateness import measured_lateness, shortest_window_s
from tests.receiver import Receiver, answer, sequence
from tests.services import Services, connected
from tests.tasks import ended, items, letters, move, seen, start, states

pytestmark = pytest.mark.usefixtures("stream")


@pytest_asyncio.fixture
async def running(pool: Pool, services: Services) -> AsyncIterator[Running]:
    async with dispatching(pool, services.nats_url) as made:
        yield made


async def test_all_letters_are_redelivered_once_under_the_ids_that_they_had(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await letters(world, app_id, endpoint_id, 300)

    task = await ended(world, await start(world, running))

    assert task.state is TaskState.FINISHED
    assert (task.total, task.items, task.delivered, task.failed) == (300, 300, 300, 0)
    assert await states(world) == {"redelivered": 300}
    sent = Counter(request.header("webhook-id") for request in receiver.requests)
    messages = await world.pool.fetch("SELECT message_id FROM dead_letter")
    assert sent == Counter(row["message_id"] for row in messages)
    triggers = await world.pool.fetch("SELECT DISTINCT trigger FROM attempt")
    assert [row["trigger"] for row in triggers] == [1]


async def test_two_tasks_on_the_same_letters_send_none_twice(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await letters(world, app_id, endpoint_id, 200)

    first, second = await start(world), await start(world, running)
    done = [await ended(world, task) for task in (first, second)]

    assert sum(task.delivered for task in done) == 200
    assert len(receiver.requests) == 200


async def test_a_disabled_or_deleted_endpoint_and_a_lost_payload_are_told_item_by_item(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    disabled, deleted, emptied = [
        await world.endpoint(app_id, receiver.url("/hook"), state=state)
        for state in ("disabled", "active", "active")
    ]
    for endpoint_id in (disabled, deleted, emptied):
        await letters(world, app_id, endpoint_id, 3)
    await world.pool.execute("UPDATE endpoint SET deleted_at = now() WHERE id = $1", deleted)
    await world.pool.execute(
        "UPDATE dead_letter SET payload = NULL WHERE endpoint_id = $1", emptied
    )

    task = await ended(world, await start(world, running))

    told = {(item.endpoint_id, item.state, item.detail) for item in await items(world, task)}
    assert (task.state, task.skipped) == (TaskState.FINISHED, 9)
    assert told == {
        (disabled, ItemState.SKIPPED, "the endpoint is disabled"),
        (deleted, ItemState.SKIPPED, "the endpoint was deleted"),
        (emptied, ItemState.SKIPPED, "the payload was expunged"),
    }
    assert await states(world) == {"parked": 9}
    assert receiver.requests == []


async def test_a_probe_that_fails_sends_no_more_than_the_probe_and_other_endpoints_go_on(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    broken = await world.endpoint(app_id, receiver.url("/broken"), policy=[])
    whole = await world.endpoint(app_id, receiver.url("/whole"))
    receiver.script("/broken", answer(500))
    for endpoint_id in (broken, whole):
        await letters(world, app_id, endpoint_id, 50)

    task = await ended(world, await start(world, running, probe=3))

    sent = Counter(request.path for request in receiver.requests)
    assert sent == {"/broken": 3, "/whole": 50}
    assert task.state is TaskState.FAILED
    assert task.why == "1 endpoints were given up, the first because 3 of 3 probes failed"
    assert await states(world) == {"parked": 50, "redelivered": 50}


async def test_an_endpoint_gets_no_more_when_too_many_fail(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    receiver.script("/hook", answer(400))
    await letters(world, app_id, endpoint_id, 500)

    task = await ended(
        world, await start(world, running, stop_percent=50.0, retry=False, concurrency=10)
    )

    assert task.state is TaskState.FAILED
    assert 20 <= len(receiver.requests) <= 60
    assert (await states(world)) == {"parked": 500}


async def test_what_fails_is_parked_at_once_if_no_retries_are_asked_for(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), policy=[60.0])
    receiver.script("/hook", answer(400))
    await letters(world, app_id, endpoint_id, 5)

    task = await ended(world, await start(world, running, retry=False))

    assert (task.delivered, task.failed, len(receiver.requests)) == (0, 5, 5)
    assert await states(world) == {"parked": 5}


async def test_what_fails_is_retried_by_the_endpoints_schedule_otherwise(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), policy=[0.2])
    receiver.script("/hook", sequence(answer(503), answer(503), answer(200)))
    await letters(world, app_id, endpoint_id, 2)

    task = await ended(world, await start(world, running))

    assert (task.state, task.delivered, task.retrying) == (TaskState.FINISHED, 2, 0)
    assert len(receiver.requests) == 4


async def test_a_cancelled_task_sends_no_more_than_was_under_way_and_leaves_the_rest_parked(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), rate=20)
    await letters(world, app_id, endpoint_id, 200)
    task = await start(world, running)
    await receiver.wait_for(25)

    await move(world, task, TaskState.CANCELLED, running)
    at_the_cancel = len(receiver.requests)
    over = await ended(world, task)

    assert over.state is TaskState.CANCELLED
    assert len(receiver.requests) - at_the_cancel <= 20
    assert await states(world) == {
        "redelivered": over.delivered, "parked": 200 - over.delivered
    }  # fmt: skip
    assert over.delivered == len(receiver.requests)


async def test_a_paused_task_stands_still_and_goes_on_where_it_was(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await letters(world, app_id, endpoint_id, 120)
    task = await start(world, running, rate_per_s=60.0)
    await receiver.wait_for(10)
    await move(world, task, TaskState.PAUSED, running)

    async def nothing_under_way() -> bool:
        return (await seen(world, task)).open == 0

    await eventually(nothing_under_way)
    paused_at = len(receiver.requests)
    assert paused_at < 120
    await asyncio.sleep(0.5)
    assert len(receiver.requests) == paused_at
    await move(world, task, TaskState.RUNNING, running)

    over = await ended(world, task)

    assert (over.state, over.delivered, len(receiver.requests)) == (TaskState.FINISHED, 120, 120)


async def test_letters_go_to_another_endpoint_of_the_app(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    old = await world.endpoint(app_id, receiver.url("/old"), state="disabled")
    new = await world.endpoint(app_id, receiver.url("/new"))
    await letters(world, app_id, old, 30)

    task = await ended(world, await start(world, running, to_endpoint_id=new))

    assert (task.state, task.delivered) == (TaskState.FINISHED, 30)
    assert Counter(request.path for request in receiver.requests) == {"/new": 30}
    assert await states(world) == {"redelivered": 30}


async def test_letters_chosen_by_their_ids_go_and_the_others_stay(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    made = await letters(world, app_id, endpoint_id, 20)

    task = await ended(world, await start(world, running, letter_ids=tuple(made[::4])))

    assert (task.total, task.delivered) == (5, 5)
    assert {item.letter_id for item in await items(world, task)} == set(made[::4])
    assert await states(world) == {"parked": 15, "redelivered": 5}


@pytest.mark.parametrize("newest_first", [False, True])
async def test_letters_go_in_the_order_that_was_asked_for(
    world: World, receiver: Receiver, running: Running, *, newest_first: bool
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    made = await letters(world, app_id, endpoint_id, 40)

    task = await ended(world, await start(world, running, newest_first=newest_first))

    chosen = [item.letter_id for item in await items(world, task)]
    assert chosen == sorted(made, reverse=newest_first)


async def test_letters_are_discarded_and_purged(world: World, running: Running) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:1/")
    made = await letters(world, app_id, endpoint_id, 30)
    only = tuple(made[:10])

    discarded = await ended(
        world, await start(world, running, kind=TaskKind.DISCARD, letter_ids=only, reason="old")
    )
    gone = Filter(environment_id=world.environment_id, states=(LetterState.DISCARDED,))
    purged = await ended(world, await start(world, running, kind=TaskKind.PURGE, letters=gone))

    assert (discarded.done, purged.done) == (10, 10)
    assert await states(world) == {"parked": 20}


@pytest.mark.parametrize("kind", [TaskKind.PURGE, TaskKind.PURGE_CONTENT])
async def test_a_task_takes_what_was_made_up_to_its_own_moment_and_nothing_of_later(
    world: World, running: Running, kind: TaskKind
) -> None:
    """A moment is what ids can tell apart: what came just before the task may seem to be as old."""
    app_id = await world.app()
    made = await letters(world, app_id, await world.endpoint(app_id, "http://a/"), 30)
    messages = await world.pool.fetchval("SELECT array_agg(id ORDER BY id) FROM message")
    last = ids.time_of((made if kind is TaskKind.PURGE else messages)[-1])
    plan = {} if kind is TaskKind.PURGE else {"endpoint_id": None}

    tasks = [
        await ended(world, await start(world, running, kind=kind, app_id=app_id, at=at, **plan))
        for at in (last - ids.MOMENT, last)
    ]

    assert tasks[0].done < 30
    assert sum(task.done for task in tasks) == 30


async def test_a_task_of_a_later_time_waits_for_it(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await letters(world, app_id, endpoint_id, 3)
    task = await start(world)
    await world.pool.execute("UPDATE task SET start_at = now() + interval '1 hour'")
    other = await ended(world, await start(world, running, kind=TaskKind.PURGE, letter_ids=("x",)))
    assert other.state is TaskState.FINISHED
    assert (await seen(world, task)).state is TaskState.SCHEDULED

    await world.pool.execute("UPDATE task SET start_at = now() WHERE id = $1", task.id)

    assert (await ended(world, task)).delivered == 3


async def test_a_dispatcher_that_dies_in_the_middle_is_followed_by_one_that_goes_on(
    world: World, pool: Pool, services: Services, receiver: Receiver
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await letters(world, app_id, endpoint_id, 2_000)
    async with dispatching(pool, services.nats_url) as first:
        task = await start(world, first)
        await receiver.wait_for(300)
        await first.die()
        under_way = (await seen(world, task)).open

    async with dispatching(pool, services.nats_url):
        over = await ended(world, task, within_s=30.0)

    assert (over.state, over.delivered, over.items) == (TaskState.FINISHED, 2_000, 2_000)
    sent = Counter(request.header("webhook-id") for request in receiver.requests)
    assert len(sent) == 2_000
    assert len(receiver.requests) - 2_000 <= under_way


async def test_a_redelivery_keeps_to_the_rate_of_the_endpoint(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), rate=50)
    await letters(world, app_id, endpoint_id, 120)

    async with measured_lateness() as lateness:
        task = await ended(world, await start(world, running))

    assert task.delivered == 120
    assert shortest_window_s(receiver.requests, 50) >= 1.0 - lateness.worst_s


async def test_an_endpoint_recovers_what_it_missed_and_gets_again_what_it_had(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"))
    await letters(world, app_id, endpoint_id, 10)
    delivered = await world.owe(app_id, endpoint_id, 5)
    await world.wake(app_id, endpoint_id)
    await world.settled(15)
    await receiver.wait_for(5)

    recovered = await ended(
        world,
        await start(world, running, kind=TaskKind.RECOVER, app_id=app_id, endpoint_id=endpoint_id),
    )
    replayed = await ended(
        world,
        await start(
            world, running, kind=TaskKind.BULK_REPLAY, app_id=app_id, endpoint_id=endpoint_id,
            delivery_states=("delivered",),
        ),
    )  # fmt: skip

    assert (recovered.delivered, replayed.delivered) == (10, 15)
    sent = Counter(request.header("webhook-id") for request in receiver.requests)
    assert [sent[message] for message in delivered] == [2] * 5


async def test_an_endpoint_that_came_later_gets_the_messages_that_it_would_have_got(
    world: World, receiver: Receiver, running: Running
) -> None:
    app_id = await world.app()
    first = await world.endpoint(app_id, receiver.url("/first"))
    await world.owe(app_id, first, 12)
    await world.wake(app_id, first)
    await world.settled(12)
    later = await world.endpoint(app_id, receiver.url("/later"))
    picky = await world.endpoint(app_id, receiver.url("/picky"), event_types=["other"])

    done = [
        await ended(
            world,
            await start(world, running, kind=TaskKind.REPLAY, app_id=app_id, endpoint_id=one),
        )
        for one in (later, picky)
    ]

    assert [task.delivered for task in done] == [12, 0]
    assert Counter(request.path for request in receiver.requests) == {"/first": 12, "/later": 12}


async def test_events_of_before_an_endpoint_existed_come_as_its_filters_would_have_had_it(
    world: World, receiver: Receiver, running: Running, bus: Client
) -> None:
    app_id = await world.app()
    for event_type, channels in (
        ("paid", "eu,us"), ("paid", "us"), ("voided", "eu"), ("paid", ""), ("paid", "eu"),
    ):  # fmt: skip
        await publish(bus, app_id, event_type, headers={"Hookline-Channels": channels})

    async def all_stored() -> bool:
        return await world.pool.fetchval("SELECT count(*) FROM message") == 5

    await eventually(all_stored)
    late = await world.endpoint(
        app_id, receiver.url("/late"), event_types=["paid"], channels=["eu"]
    )

    task = await ended(
        world,
        await start(world, running, kind=TaskKind.REPLAY, app_id=app_id, endpoint_id=late),
    )

    fitting = await world.pool.fetch(
        "SELECT id FROM message WHERE event_type = 'paid' AND 'eu' = ANY (channels)"
    )
    assert (task.state, task.delivered) == (TaskState.FINISHED, 2)
    assert {one.header("webhook-id") for one in receiver.requests} == {r["id"] for r in fitting}
    assert await world.states() == {"delivered": 2}


async def test_a_message_for_one_endpoint_alone_is_missing_at_no_other(
    world: World, receiver: Receiver, running: Running, bus: Client
) -> None:
    app_id = await world.app()
    first = await world.endpoint(app_id, receiver.url("/first"))
    second = await world.endpoint(app_id, receiver.url("/second"))
    await publish(bus, app_id, headers={"Hookline-Endpoint": first})
    await receiver.wait_for(1)

    task = await ended(
        world,
        await start(world, running, kind=TaskKind.REPLAY, app_id=app_id, endpoint_id=second),
    )

    assert (task.state, task.items) == (TaskState.FINISHED, 0)
    assert [one.path for one in receiver.requests] == ["/first"]


@pytest.mark.parametrize("state", [TaskState.PAUSED, TaskState.CANCELLED])
async def test_a_task_that_is_stopped_just_as_it_begins_does_not_begin(
    world: World, services: Services, state: TaskState
) -> None:
    async def nobody(_: str) -> None:
        raise AssertionError

    task = await start(world)
    async with connected(services.nats_url) as bus, world.pool.acquire() as link:
        given = dispatcher(world.pool, bus, config("d1"))._given
        (lease,) = await task_step.claim(link, "d1", most=1, lease_s=10.0, now=now(), held=())
        await move(world, task, state)

        await Run(given, lease, ring=nobody)._begin(link)

    stopped = await seen(world, task)
    assert (stopped.state, stopped.started_at) == (state, None)
