"""Attempts are counted by event type, each once, in a bounded number of rows."""

import random
from datetime import UTC, datetime, timedelta

import pytest_asyncio
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from dispatcher.metrics import Metrics
from dispatcher.type_counts import TypeCounts
from schema.delivery import Outcome, State
from schema.store import statements, type_count
from schema.store.link import Pool
from schema.store.settle import Settlement
from schema.store.type_count import BUCKET
from tests import plans
from tests.dispatching import World, config, parts
from tests.settling import owned_world, settle, settlement, with_outcome

AT = datetime(2026, 5, 1, 12, 3, tzinfo=UTC)
BEGIN = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await owned_world(pool)


class Counting:
    """One that adds up, with the registry of what it counted under no name."""

    def __init__(self, pool: Pool, bus: Client, types: int) -> None:
        self.registry = CollectorRegistry()
        self.counts = TypeCounts(
            parts(pool, bus, config(counted_types=types), metrics=Metrics(self.registry))
        )

    @property
    def nameless(self) -> float | None:
        return self.registry.get_sample_value("hookline_attempts_of_no_type_total")


async def tried(
    world: World, app_id: str, event_type: str, status: int = 200, *, at: datetime = AT
) -> Settlement:
    """Make what an attempt at a message of a type came to."""
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:9/")
    (message_id,) = await world.owe(app_id, endpoint_id)
    state = State.DELIVERED if status == 200 else State.RETRYING
    made = with_outcome(
        settlement(app_id, endpoint_id, message_id, state), Outcome(status=status, duration_ms=1)
    )
    assert made.attempt is not None
    attempt = made.attempt._replace(event_type=event_type, started_at=at)
    return made._replace(attempt=attempt)


async def rows(pool: Pool) -> list[tuple[object, ...]]:
    found = await pool.fetch(
        "SELECT app_id, event_type, bucket, delivered, failed FROM rollup_type ORDER BY 1, 2, 3"
    )
    return [tuple(row) for row in found]


async def test_the_counts_are_those_of_the_attempts_by_app_type_and_five_minutes(
    world: World, pool: Pool, bus: Client
) -> None:
    dice = random.Random(7)
    apps = [await world.app() for _ in range(2)]
    made = [
        await tried(
            world,
            dice.choice(apps),
            dice.choice(["a", "b.c"]),
            dice.choice([200, 200, 500]),
            at=AT + timedelta(minutes=dice.randrange(12)),
        )
        for _ in range(40)
    ]
    counting = Counting(pool, bus, types=10)

    for batch in (made[:15], made[15:16], made[16:]):
        await settle(pool, *batch)
        await settle(pool, *batch)  # its answer got lost
        if batch is not made[15:16]:
            assert await counting.counts.once() is False

    logged = await pool.fetch(
        """SELECT app_id, event_type, date_bin('5 minutes', started_at, $1) AS bucket,
                  count(*) FILTER (WHERE status = 200), count(*) FILTER (WHERE status <> 200)
           FROM attempt GROUP BY 1, 2, 3 ORDER BY 1, 2, 3""",
        BEGIN,
    )
    assert sum(row[3] + row[4] for row in logged) == 40
    assert await rows(pool) == [tuple(row) for row in logged]
    assert await pool.fetchval("SELECT count(*) FROM type_tally") == 0
    assert counting.nameless == 0


async def test_an_app_of_too_many_types_has_the_rest_counted_together_and_no_other_app_has(
    world: World, pool: Pool, bus: Client
) -> None:
    many, few = await world.app(), await world.app()
    counting = Counting(pool, bus, types=3)

    for batch in (["t1", "t2"], ["t2", "t3", "t4", "t5", "t1"], ["t5", "t3"]):
        await settle(pool, *[await tried(world, many, name) for name in batch])
        await counting.counts.once()
    await settle(pool, await tried(world, few, "t9"), await tried(world, many, "t5", 500))
    later = AT + BUCKET
    await settle(pool, await tried(world, many, "t5", at=later))
    await counting.counts.once()

    found = {(app, name, bucket): (d, f) for app, name, bucket, d, f in await rows(pool)}
    assert found == {
        (many, "t1", BEGIN): (2, 0),
        (many, "t2", BEGIN): (2, 0),
        (many, "t3", BEGIN): (2, 0),
        (many, "", BEGIN): (3, 1),
        (many, "t5", BEGIN + BUCKET): (1, 0),
        (few, "t9", BEGIN): (1, 0),
    }
    assert counting.nameless == 4


async def test_a_flood_of_types_in_one_batch_makes_no_more_rows_than_it_may(
    world: World, pool: Pool, bus: Client
) -> None:
    flooding, other = await world.app(), await world.app()
    batch = [await tried(world, flooding, f"t{number:02}") for number in range(40)]
    batch += [await tried(world, flooding, f"t{n:02}", at=AT + BUCKET) for n in range(3)]
    batch.append(await tried(world, other, "t99"))

    await settle(pool, *batch)
    await Counting(pool, bus, types=5).counts.once()

    counted = {(app, name, bucket): d for app, name, bucket, d, _ in await rows(pool)}
    assert counted == {
        **{(flooding, f"t{number:02}", BEGIN): 1 for number in range(5)},
        (flooding, "", BEGIN): 35,
        **{(flooding, f"t{number:02}", BEGIN + BUCKET): 1 for number in range(3)},
        (other, "t99", BEGIN): 1,
    }


async def test_one_adds_up_at_a_time_and_what_it_gives_up_is_there_for_the_next(
    world: World, pool: Pool, bus: Client
) -> None:
    await settle(pool, await tried(world, await world.app(), "a"))
    counting = Counting(pool, bus, types=5)

    async with pool.acquire() as link:
        transaction = link.transaction()
        await transaction.start()
        assert await type_count.try_lock(link)
        assert (await type_count.fold(link, most=9, types=5)).statements == 1
        await counting.counts.once()
        assert await rows(pool) == []
        await transaction.rollback()
    await counting.counts.once()

    assert len(await rows(pool)) == 1


async def test_more_than_fits_is_added_up_in_turns(world: World, pool: Pool) -> None:
    app_id = await world.app()
    for _ in range(5):
        await settle(pool, await tried(world, app_id, "a"))
    async with pool.acquire() as link:
        turns = [(await type_count.fold(link, most=2, types=5)).statements for _ in range(4)]

    assert turns == [2, 2, 1, 0]
    assert [row[3] for row in await rows(pool)] == [5]


async def test_adding_up_looks_counts_up_one_by_one(world: World, pool: Pool) -> None:
    await pool.execute(
        """INSERT INTO rollup_type (app_id, bucket, event_type)
           SELECT 'app_' || n, $1, 't' || t
           FROM generate_series(1, 2000) AS n, generate_series(1, 9) AS t""",
        BEGIN,
    )
    await settle(pool, *[await tried(world, await world.app(), "a") for _ in range(9)])
    await pool.execute("ANALYZE rollup_type, type_tally")

    async with pool.acquire() as link:
        plan = await plans.plan_of(link, statements.load("type_count")["fold"], 9, 5)

    assert plans.scanned(plan) <= {"type_tally"}
    assert plans.indexes(plan) == {"rollup_type_pkey"}
