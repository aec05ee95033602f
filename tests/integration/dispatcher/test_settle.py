"""What an attempt came to is written once, whole, by the owner of the shard alone."""

import asyncio

import asyncpg
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from dispatcher.health import Health, HealthLimits
from dispatcher.lane import AppQueue, Lane, Owed
from dispatcher.metrics import Metrics
from dispatcher.settle import Settled, Settler
from schema import ids
from schema.delivery import MOVES, OWED, Fault, Outcome, Reason, State
from schema.store import dead_letter, delivery
from schema.store.link import Pool
from schema.store.pool import open_pool
from schema.store.settle import Settlement
from tests.dispatching import World, config, eventually, now, waits_for_lock
from tests.services import SHARDS, Services
from tests.settling import EPOCHS, OWNER, owned_world, settle, settlement, with_outcome


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await owned_world(pool)


async def owed(world: World, number: int = 1) -> tuple[str, str, list[str]]:
    """Make an app and an endpoint that is owed messages."""
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    return app_id, endpoint_id, await world.owe(app_id, endpoint_id, number)


async def test_a_late_settlement_of_a_former_owner_moves_nothing_but_is_logged(
    world: World, pool: Pool
) -> None:
    app_id, endpoint_id, (first, second) = await owed(world, 2)
    shard = ids.shard_of(app_id, SHARDS)
    await pool.execute("UPDATE shard SET owner = 'd2', epoch = 2 WHERE id = $1", shard)

    delivered = settlement(app_id, endpoint_id, first, State.DELIVERED)
    dead = settlement(app_id, endpoint_id, second, State.DEAD, disable="gone")
    moved = await settle(pool, delivered, dead)

    assert moved == []
    assert await world.states() == {"pending": 2}
    assert len(await world.attempts()) == 2
    assert await world.letters() == []
    assert await pool.fetchval("SELECT state FROM endpoint") == "active"


@pytest.mark.parametrize("state", [State.DELIVERED, State.RETRYING, State.DEAD])
async def test_a_delivery_that_was_called_off_meanwhile_stays_so(
    world: World, pool: Pool, state: State
) -> None:
    app_id, endpoint_id, (message_id,) = await owed(world)
    async with pool.acquire() as link:
        await delivery.cancel(link, app_id, message_id)

    assert await settle(pool, settlement(app_id, endpoint_id, message_id, state)) == []

    assert await world.states() == {"cancelled": 1}
    assert await world.letters() == []


async def test_of_a_batch_only_what_was_moved_is_parked(world: World, pool: Pool) -> None:
    app_id, endpoint_id, messages = await owed(world, 4)
    async with pool.acquire() as link:
        await delivery.cancel(link, app_id, messages[1])
    states = [State.DEAD, State.DEAD, State.DELIVERED, State.DEAD]
    batch = [
        settlement(app_id, endpoint_id, message_id, state)
        for message_id, state in zip(messages, states, strict=True)
    ]

    moved = await settle(pool, *batch)

    assert {s.message_id for s in moved} == {messages[0], *messages[2:]}
    assert {r["message_id"] for r in await world.letters()} == {messages[0], messages[3]}
    assert await world.states() == {"dead": 2, "cancelled": 1, "delivered": 1}


async def put(pool: Pool, message_id: str, state: State) -> None:
    due_at = now() if state in OWED else None
    await pool.execute(
        "UPDATE delivery SET state = $2, due_at = $3 WHERE message_id = $1",
        message_id,
        state,
        due_at,
    )


async def move(pool: Pool, row: asyncpg.Record, how: str) -> None:
    """Do to a delivery what a statement of the store does."""
    app_id, message_id, endpoint_id = row["app_id"], row["message_id"], row["endpoint_id"]
    if how in list(State):
        await settle(pool, settlement(app_id, endpoint_id, message_id, State(how)))
        return
    async with pool.acquire() as link:
        if how == "cancel":
            await delivery.cancel(link, app_id, message_id)
        else:
            shard = row["shard"]
            await delivery.resend(link, app_id, message_id, endpoint_id, shard=shard, at=now())


async def test_every_statement_makes_only_moves_that_are_allowed(world: World, pool: Pool) -> None:
    _, _, (message_id,) = await owed(world)
    made = set[tuple[State, State]]()
    for old in State:
        for how in ("delivered", "retrying", "dead", "resend", "cancel"):
            await put(pool, message_id, old)
            await move(pool, await world.delivery(message_id), how)
            made.add((old, State((await world.delivery(message_id))["state"])))

    assert {(old, new) for old, new in made if old is not new and new not in MOVES[old]} == set()
    assert len({pair for pair in made if pair[0] is not pair[1]}) >= 9


async def test_a_letter_is_redelivered_when_it_arrived_and_parked_again_when_it_did_not(
    world: World, pool: Pool
) -> None:
    app_id, endpoint_id, (message_id,) = await owed(world)
    shard = ids.shard_of(app_id, SHARDS)
    states = []
    outcomes = (State.DEAD, State.DEAD, State.DELIVERED)
    for run, state in enumerate(outcomes):
        await settle(pool, settlement(app_id, endpoint_id, message_id, state, run=run))
        states.append((await world.letters())[0]["state"])
        async with pool.acquire() as link:
            await delivery.resend(link, app_id, message_id, endpoint_id, shard=shard, at=now())
            await dead_letter.redeliver_of(link, app_id, message_id, endpoint_id, now())

    assert states == ["parked", "parked", "redelivered"]
    assert len(await world.letters()) == 1


async def test_the_minute_s_counts_add_up(world: World, pool: Pool) -> None:
    app_id, endpoint_id, messages = await owed(world, 7)
    outcomes = [
        Outcome(status=200, duration_ms=1),
        Outcome(status=299, duration_ms=2),
        Outcome(status=301, duration_ms=4),
        Outcome(status=404, duration_ms=8),
        Outcome(status=500, duration_ms=16),
        Outcome(status=101, duration_ms=32),
        Outcome(fault=Fault.TIMEOUT, detail="no answer", duration_ms=64),
    ]
    batch = [
        with_outcome(
            settlement(app_id, endpoint_id, m, State.DELIVERED if o.succeeded else State.DEAD), o
        )
        for m, o in zip(messages, outcomes, strict=True)
    ]

    await settle(pool, *batch[:3])
    await settle(pool, *batch[3:])

    names = ("delivered", "status_3xx", "status_4xx", "status_5xx", "no_answer", "parked")
    sums = ", ".join(f"sum({name})" for name in (*names, "duration_ms"))
    row = await pool.fetchrow(f"SELECT {sums} FROM rollup_minute")
    assert row is not None
    assert tuple(row) == (2, 1, 1, 2, 1, 5, 127)


async def test_a_letter_tells_failures_that_are_alike_by_their_fingerprint(
    world: World, pool: Pool
) -> None:
    app_id, endpoint_id, messages = await owed(world, 4)
    outcomes = [
        Outcome(status=500, body=b"request 1 failed"),
        Outcome(status=500, body=b"request 22 failed"),
        Outcome(status=500, body=b"no database"),
        Outcome(fault=Fault.DNS, detail="no such name"),
    ]
    batch = [
        with_outcome(settlement(app_id, endpoint_id, m, State.DEAD), o)
        for m, o in zip(messages, outcomes, strict=True)
    ]

    await settle(pool, *batch)

    prints = [letter["fingerprint"] for letter in await world.letters()]
    assert sorted(prints.count(p) for p in prints) == [1, 1, 2, 2]


# The settler.


def settled(made: Settlement) -> Settled:
    lane = Lane(
        shard=0,
        app=AppQueue(app_id=made.app_id),
        endpoint_id=made.endpoint_id,
        target=None,
        health=Health(HealthLimits()),
    )
    owed = Owed(
        lane=lane,
        message_id=made.message_id,
        event_type="a.b",
        payload=b"{}",
        content_type="application/json",
        due_at=now(),
    )
    return Settled(owed=owed, settlement=made)


def settler(pool: Pool, told: list[Settled], **changes: object) -> Settler:
    return Settler(
        pool=pool,
        clock=now,
        config=config(OWNER, **changes),
        metrics=Metrics(CollectorRegistry()),
        epochs=lambda: EPOCHS,
        on_settled=lambda batch, _: told.extend(batch),
        told=frozenset,
        traces=bool,
        mails=bool,
    )


async def run_until_drained(made: Settler) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        task = group.create_task(made.run())
        await made.drained()
        task.cancel()


async def test_a_row_that_postgres_refuses_is_written_bare_and_does_not_block_the_rest(
    world: World, pool: Pool
) -> None:
    app_id, endpoint_id, messages = await owed(world, 9)
    told: list[Settled] = []
    made = settler(pool, told)
    for n, message_id in enumerate(messages):
        one = settlement(app_id, endpoint_id, message_id, State.RETRYING)
        hostile = Outcome(fault=Fault.PROTOCOL, detail="\0")
        made.add(settled(with_outcome(one, hostile) if n == 4 else one))

    await run_until_drained(made)

    assert await world.states() == {"retrying": 9}
    assert len(told) == 9
    bare = [a for a in await world.attempts() if a["fault"] == "protocol"]
    assert [(a["message_id"], a["detail"]) for a in bare] == [(messages[4], "not storable")]


async def test_a_batch_is_as_large_as_it_may_be(world: World, pool: Pool) -> None:
    app_id, endpoint_id, messages = await owed(world, 25)
    told: list[Settled] = []
    made = settler(pool, told, settle_batch=10)
    for message_id in messages:
        made.add(settled(settlement(app_id, endpoint_id, message_id, State.DELIVERED)))

    await run_until_drained(made)

    written = await pool.fetch("SELECT count(*) AS number FROM attempt GROUP BY xmin::text")
    assert sorted(row["number"] for row in written) == [5, 10, 10]
    assert await world.states() == {"delivered": 25}
    assert made.waiting == 0


async def test_while_postgres_is_away_a_batchwaits_for_lock(
    world: World, pool: Pool, services: Services
) -> None:
    app_id, endpoint_id, messages = await owed(world, 5)
    told: list[Settled] = []
    made = settler(pool, told)
    task = asyncio.create_task(made.run())
    await services.postgres.kill()
    for message_id in messages:
        made.add(settled(settlement(app_id, endpoint_id, message_id, State.DELIVERED)))
    await eventually(lambda: made.waiting == 0)
    assert told == []

    await services.postgres.start()

    async with asyncio.timeout(20):
        await made.drained()
    task.cancel()
    await asyncio.wait([task])
    assert len(told) == 5
    assert await world.states() == {"delivered": 5}


async def test_a_deadlock_is_tried_again(world: World, database: str) -> None:
    app_id, endpoint_id, messages = await owed(world, 2)
    told: list[Settled] = []
    # Postgres looks for a deadlock once, so long after a wait began: by then both must wait.
    patient = f"{database}{'&' if '?' in database else '?'}deadlock_timeout=1s"
    other = await asyncpg.connect(database)
    try:
        async with await open_pool(patient, size=2, batches=True) as pool:
            made = settler(pool, told)
            for message_id in messages:
                made.add(settled(settlement(app_id, endpoint_id, message_id, State.DEAD)))
            async with other.transaction():
                await other.execute("LOCK TABLE dead_letter IN EXCLUSIVE MODE")
                task = asyncio.create_task(made.run())
                await eventually(lambda: waits_for_lock(other))
                # Now it holds the deliveries and waits for the letters; one of both is told no.
                await other.execute("SET LOCAL deadlock_timeout = '10s'")
                await other.execute("UPDATE delivery SET manual = manual")
            async with asyncio.timeout(20):
                await made.drained()
            task.cancel()
            await asyncio.wait([task])
    finally:
        await other.close()

    assert await world.states() == {"dead": 2}
    assert len(await world.letters()) == len(told) == 2


async def test_letters_are_counted_by_the_class_of_the_failure(world: World, pool: Pool) -> None:
    app_id, endpoint_id, (answered, unanswered, unsent) = await owed(world, 3)
    told: list[Settled] = []
    made = settler(pool, told)
    dead = [settlement(app_id, endpoint_id, m, State.DEAD) for m in (answered, unanswered, unsent)]
    batch = [
        dead[0],
        with_outcome(dead[1], Outcome(fault=Fault.TIMEOUT)),
        dead[2]._replace(attempt=None, reason=Reason.ENDPOINT_DISABLED),
    ]

    for one in batch:
        made.add(settled(one))
    await run_until_drained(made)

    counted = {
        sample.labels["class"]: sample.value
        for metric in made._metrics.letters.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {"http_5xx": 1, "timeout": 1, "endpoint_disabled": 1}
