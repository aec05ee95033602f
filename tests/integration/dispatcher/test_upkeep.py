"""Partitions are made ahead and dropped when old, and what is owed is never dropped."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from dispatcher.upkeep import Upkeep
from schema import ids
from schema.store import partition
from schema.store.link import Pool
from tests import rows

DAYS = 10
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
OLD = TODAY - timedelta(days=DAYS + 1)
KEPT = TODAY - timedelta(days=DAYS)


def upkeep(pool: Pool, at: datetime = TODAY) -> Upkeep:
    return Upkeep(pool=pool, clock=lambda: at, retention_days=DAYS)


async def partitions(pool: Pool, table: str) -> set[str]:
    found = await pool.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = $1::regclass",
        table,
    )
    return {row["name"].removeprefix(f"{table}_") for row in found}


async def message_of(pool: Pool, day: datetime, state: str | None) -> str:
    """Store a message of a day, with a delivery in a state if any; give its id."""
    message_id = ids.new_id(ids.MESSAGE, day + timedelta(hours=1))
    await pool.execute(
        """INSERT INTO message (app_id, id, event_type, payload, content_type, created_at)
           VALUES ('app_1', $1, 'a', '{}', 'application/json', $2)""",
        message_id,
        day,
    )
    if state is not None:
        await pool.execute(
            """INSERT INTO delivery (app_id, message_id, endpoint_id, shard, state, due_at,
                                     created_at)
               VALUES ('app_1', $1, 'ep_1', 0, $2, CASE WHEN $2 = 'retrying' THEN now() END, $3)""",
            message_id,
            state,
            day,
        )
    return message_id


@pytest.mark.parametrize("table", sorted(partition.PARTITIONED))
async def test_there_are_partitions_from_yesterday_to_a_week_ahead(pool: Pool, table: str) -> None:
    wanted = {f"{TODAY + timedelta(days=n):%Y%m%d}" for n in range(-1, 8)}

    assert await partitions(pool, table) == wanted | {"default"}


async def test_a_partition_that_is_missing_is_made_and_takes_its_day(pool: Pool) -> None:
    tomorrow = TODAY + timedelta(days=1)
    await pool.execute(f"DROP TABLE message_{tomorrow:%Y%m%d}")

    await upkeep(pool).once()

    message_id = await message_of(pool, tomorrow, None)
    found = await pool.fetchval("SELECT tableoid::regclass::text FROM message")
    assert found == f"message_{tomorrow:%Y%m%d}"
    assert ids.time_of(message_id) >= tomorrow


async def test_the_bounds_of_a_day_are_its_midnights(pool: Pool) -> None:
    last = ids.new_id(ids.MESSAGE, TODAY - timedelta(milliseconds=4), b"\xff" * 15)
    first = ids.first_id(ids.MESSAGE, TODAY)
    for message_id in (last, first):
        await pool.execute(
            """INSERT INTO message (app_id, id, event_type, content_type, created_at)
               VALUES ('app_1', $1, 'a', 'application/json', now())""",
            message_id,
        )

    rows = await pool.fetch("SELECT id, tableoid::regclass::text AS name FROM message")

    assert {row["id"]: row["name"] for row in rows} == {
        last: f"message_{TODAY - timedelta(days=1):%Y%m%d}",
        first: f"message_{TODAY:%Y%m%d}",
    }


async def test_days_that_are_over_are_dropped_unless_something_of_them_is_owed(pool: Pool) -> None:
    owing = OLD - timedelta(days=1)
    async with pool.acquire() as link:
        await partition.make(link, [owing, OLD, KEPT])
    owed = await message_of(pool, owing, "retrying")
    await message_of(pool, OLD, "delivered")
    kept = await message_of(pool, KEPT, "dead")

    await upkeep(pool).once()

    for table in partition.PARTITIONED:
        days = await partitions(pool, table)
        assert {f"{owing:%Y%m%d}", f"{KEPT:%Y%m%d}"} <= days
        assert f"{OLD:%Y%m%d}" not in days
    rows = await pool.fetch("SELECT id FROM message ORDER BY id")
    assert [row["id"] for row in rows] == [owed, kept]


async def test_a_day_that_lies_in_the_default_partition_does_not_keep_others_from_being_made(
    pool: Pool,
) -> None:
    days = [TODAY + timedelta(days=n) for n in (6, 7)]
    for day in days:
        await pool.execute(f"DROP TABLE message_{day:%Y%m%d}")
    await message_of(pool, days[0], None)

    await upkeep(pool).once()

    made = await partitions(pool, "message")
    assert (f"{days[0]:%Y%m%d}" in made, f"{days[1]:%Y%m%d}" in made) == (False, True)
    assert await pool.fetchval("SELECT count(*) FROM message_default") == 1


async def stray(pool: Pool, day: datetime, state: str | None) -> str:
    """Store a message of a day that has no partition, with an attempt for its delivery."""
    message_id = await message_of(pool, day, state)
    async with pool.acquire() as link:
        await rows.attempt(link, "app_1", message_id, "ep_1", at=day + timedelta(hours=2))
    return message_id


async def strays(pool: Pool) -> dict[str, list[str]]:
    """Give of which messages something lies in no day's partition, by table."""
    found = {}
    for table, column in (("message", "id"), ("delivery", "message_id"), ("attempt", "message_id")):
        read = await pool.fetch(f"SELECT {column} AS id FROM {table}_default ORDER BY id")
        found[table] = [row["id"] for row in read]
    return found


async def test_what_is_old_and_in_no_days_partition_is_pruned_unless_it_is_owed(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.upkeep.STRAYS", 2)  # so that there are several portions
    for state in ("delivered", "dead", "cancelled", "delivered", "dead"):
        await stray(pool, OLD, state)
    unwanted = await message_of(pool, OLD, None)
    owed = await stray(pool, OLD - timedelta(days=1), "retrying")
    kept = await stray(pool, KEPT, "delivered")
    assert unwanted in (await strays(pool))["message"]

    await upkeep(pool).once()

    left = await strays(pool)
    assert left == {"message": [owed, kept], "delivery": [owed, kept], "attempt": [owed, kept]}


async def test_what_is_old_is_pruned(pool: Pool) -> None:
    for at in (OLD, KEPT):
        name = f"{at:%d}"
        await pool.execute("INSERT INTO message_event_id VALUES ('a', $1, 'm', $2)", name, at)
        await pool.execute(
            "INSERT INTO rejected_event VALUES ($1, NULL, 'a', 's', '{}', '', 'r', 'd', 1, $2)",
            name,
            at,
        )
        await pool.execute(
            "INSERT INTO rollup_minute (app_id, endpoint_id, bucket) VALUES ('a', $1, $2)", name, at
        )
        await pool.execute(
            "INSERT INTO rollup_type (app_id, bucket, event_type) VALUES ('a', $2, $1)", name, at
        )
        await pool.execute(
            "INSERT INTO endpoint_secret VALUES ('a', 'e', $1, 'hmac256', '', $2, $2)", name, at
        )
    await pool.execute("INSERT INTO endpoint_secret VALUES ('a','e','now','hmac256','',now())")

    await upkeep(pool).once()

    counts = {
        table: await pool.fetchval(f"SELECT count(*) FROM {table}")
        for table in (
            "message_event_id",
            "rejected_event",
            "rollup_minute",
            "rollup_type",
            "endpoint_secret",
        )
    }
    assert counts == {
        "message_event_id": 1,
        "rejected_event": 1,
        "rollup_minute": 1,
        "rollup_type": 1,
        "endpoint_secret": 2,
    }


async def test_one_process_at_a_time_does_it(pool: Pool, database: str) -> None:
    tomorrow = TODAY + timedelta(days=1)
    await pool.execute(f"DROP TABLE attempt_{tomorrow:%Y%m%d}")
    other = await asyncpg.connect(database)
    try:
        async with other.transaction():
            await other.execute("SELECT pg_advisory_xact_lock(0x75706B70)")

            await upkeep(pool).once()

            assert f"{tomorrow:%Y%m%d}" not in await partitions(pool, "attempt")
    finally:
        await other.close()

    await upkeep(pool).once()
    assert f"{tomorrow:%Y%m%d}" in await partitions(pool, "attempt")


async def test_tasks_are_kept_for_90_days_after_they_ended(pool: Pool) -> None:
    def ago(days: int) -> datetime:
        return TODAY - timedelta(days=days)

    tasks = {
        "old": ("finished", ago(91)),
        "cancelled": ("cancelled", ago(91)),
        "recent": ("finished", ago(89)),
        "paused": ("paused", ago(91)),
    }
    for ident, (state, at) in tasks.items():
        await pool.execute(
            """INSERT INTO task (environment_id, id, kind, state, plan, created_at, start_at,
                                 updated_at)
               VALUES ('org_1', $1, 'dead_letter.purge', $2, '{}', $3, $3, $3)""",
            ident,
            state,
            at,
        )
        await pool.execute(
            """INSERT INTO task_item (task_id, number, part, app_id, message_id, endpoint_id, state,
                                      at) VALUES ($1, 1, 1, 'a', 'm', 'e', 'done', $2)""",
            ident,
            at,
        )

    await upkeep(pool).once()

    assert {row["id"] for row in await pool.fetch("SELECT id FROM task")} == {"recent", "paused"}
    left = await pool.fetch("SELECT task_id FROM task_item")
    assert {row["task_id"] for row in left} == {"recent", "paused"}


async def test_what_a_message_was_made_of_is_known_for_as_long_as_letters_are(pool: Pool) -> None:
    for days in (91, 89):
        await pool.execute(
            "INSERT INTO message_origin VALUES ('a', $1, 'ep', 'dl', $2)",
            f"{days}",
            TODAY - timedelta(days=days),
        )

    await upkeep(pool).once()

    assert await pool.fetchval("SELECT array_agg(message_id) FROM message_origin") == ["89"]


async def test_a_payload_is_forgotten_when_its_time_is_over_in_its_dead_letter_too(
    pool: Pool,
) -> None:
    over, kept = [await message_of(pool, TODAY, "dead") for _ in range(2)]
    now = datetime.now(UTC)
    async with pool.acquire() as link:
        for ident, until in ((over, now), (kept, now + timedelta(seconds=1))):
            await rows.letter(
                link, "app_1", ident, "ep_1", environment_id="org_1", payload_until=until
            )
            await link.execute("UPDATE message SET payload_until = $2 WHERE id = $1", ident, until)

    await upkeep(pool, now).expire()

    left = "SELECT array_agg({}) FROM {} WHERE payload IS NOT NULL"
    assert await pool.fetchval(left.format("id", "message")) == [kept]
    assert await pool.fetchval(left.format("message_id", "dead_letter")) == [kept]


async def test_idempotency_keys_and_answers_are_dropped_after_half_a_day(pool: Pool) -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(hours=12, seconds=s) for s in (-1, 1)]
    for n, at in enumerate(times):
        ident = ids.new_id(ids.MESSAGE, at)
        await pool.execute("INSERT INTO message_key VALUES ('app_1', $1, $2)", str(n), ident)
        await pool.execute(
            "INSERT INTO kept_answer (key, holder, begun_at, held_until) VALUES ($1, '', $2, $2)",
            str(n).encode(),
            at,
        )

    await upkeep(pool, now).once()

    assert await pool.fetchval("SELECT array_agg(key) FROM message_key") == ["0"]
    assert await pool.fetchval("SELECT array_agg(key) FROM kept_answer") == [b"0"]
