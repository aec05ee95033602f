"""A database comes to the schema of this version, whatever it was before, and by day partitions."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest
import pytest_asyncio

from schema import ids
from schema.delivery import State
from schema.migrate import MIGRATIONS, MigrationFault, migrate, missing
from schema.store import partition, reconciliation
from schema.store.link import Link, Pool
from tests import rows
from tests.services import SHARDS, Services

CATALOGUE = {
    "columns": """
        SELECT table_name, column_name, data_type, udt_name, is_nullable, column_default,
               collation_name, ordinal_position
        FROM information_schema.columns WHERE table_schema = 'public'""",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace""",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal""",
    "tables": """
        SELECT oid::regclass::text, relkind::text, reloptions, pg_get_expr(relpartbound, oid)
        FROM pg_class WHERE relnamespace = 'public'::regnamespace""",
    "functions": """
        SELECT proname, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace""",
    "migrations": "SELECT name, digest FROM schema_migration",
}


@pytest_asyncio.fixture
async def empty(services: Services) -> AsyncIterator[str]:
    """Lend a database that has nothing in it; gives its address."""
    name = f"t_{secrets.token_hex(6)}"
    await services._administer(f"CREATE DATABASE {name} TEMPLATE template0")
    yield services.database_url(name)
    await services._administer(f"DROP DATABASE {name} WITH (FORCE)")


async def catalogue(link: Link) -> dict[str, set[tuple[object, ...]]]:
    """Give all that a migration may make, by kind."""
    return {
        kind: {
            tuple(tuple(v) if isinstance(v, list) else v for v in row)
            for row in await link.fetch(sql)
        }
        for kind, sql in CATALOGUE.items()
    }


async def migrated(url: str) -> list[str]:
    """Migrate over a connection of one's own, as a process that starts does."""
    link = await asyncpg.connect(url)
    try:
        return await migrate(link, shards=SHARDS)
    finally:
        await link.close()


def midnight(at: datetime) -> datetime:
    return at.replace(hour=0, minute=0, second=0, microsecond=0)


async def test_one_after_the_other_or_all_at_once_the_migrations_make_the_same(
    empty: str, pool: Pool
) -> None:
    link = await asyncpg.connect(empty)
    for path in MIGRATIONS:
        assert await migrate(link, shards=SHARDS, upto=path.name) == [path.name]
    await migrate(link, shards=SHARDS)

    step_by_step = await catalogue(link)

    await link.close()
    async with pool.acquire() as other:
        at_once = await catalogue(other)
    assert all(at_once.values())
    assert step_by_step == at_once


async def test_what_is_migrated_is_left_as_it_is(pool: Pool) -> None:
    async with pool.acquire() as link:
        before = await catalogue(link)

        applied = await migrate(link, shards=SHARDS * 2)

        assert applied == await missing(link) == []
        assert await catalogue(link) == before
        assert await link.fetchval("SELECT count(*) FROM shard") == SHARDS
        assert await link.fetchval("SELECT count(*) FROM environment") == 1


async def test_a_new_database_lacks_every_migration(empty: str) -> None:
    link = await asyncpg.connect(empty)

    lacking = await missing(link)

    await link.close()
    assert lacking == [path.name for path in MIGRATIONS]


async def test_an_applied_migration_that_was_edited_is_refused(pool: Pool) -> None:
    name = MIGRATIONS[0].name
    async with pool.acquire() as link:
        await link.execute("UPDATE schema_migration SET digest = 'other' WHERE name = $1", name)
        before = await catalogue(link)

        with pytest.raises(MigrationFault, match=name):
            await migrate(link, shards=SHARDS)

        assert await catalogue(link) == before


async def test_a_database_that_is_newer_than_this_version_is_refused(pool: Pool) -> None:
    async with pool.acquire() as link:
        await link.execute("INSERT INTO schema_migration VALUES ('9999_future.sql', 'x')")

        with pytest.raises(MigrationFault, match=r"9999_future\.sql"):
            await migrate(link, shards=SHARDS)


async def test_a_refusal_keeps_nobody_else_out(pool: Pool, database: str) -> None:
    async with pool.acquire() as link:
        await link.execute("INSERT INTO schema_migration VALUES ('9999_future.sql', 'x')")
        with pytest.raises(MigrationFault):
            await migrate(link, shards=SHARDS)
        await link.execute("DELETE FROM schema_migration WHERE digest = 'x'")

        async with asyncio.timeout(10):
            applied = await migrated(database)

    assert applied == []


async def test_of_processes_that_migrate_at_once_one_applies_and_all_succeed(empty: str) -> None:
    applied = await asyncio.gather(*(migrated(empty) for _ in range(3)))

    assert sorted(applied) == [[], [], [path.name for path in MIGRATIONS]]
    link = await asyncpg.connect(empty)
    assert await link.fetchval("SELECT count(*) FROM environment") == 1
    assert await link.fetchval("SELECT count(*) FROM shard") == SHARDS
    await link.close()


async def test_there_are_partitions_from_yesterday_to_a_week_ahead(pool: Pool) -> None:
    today = midnight(rows.now())
    days = [today + timedelta(days=n) for n in range(-1, 8)]

    found = await pool.fetch(
        """SELECT inhrelid::regclass::text AS name FROM pg_inherits
           WHERE inhparent IN ('message'::regclass, 'delivery'::regclass, 'attempt'::regclass)"""
    )

    wanted = {f"{table}_{day:%Y%m%d}" for table in partition.PARTITIONED for day in days}
    default = {f"{table}_default" for table in partition.PARTITIONED}
    assert {row["name"] for row in found} == wanted | default


@pytest.mark.parametrize("into_the_day", [timedelta(0), timedelta(days=1, milliseconds=-4)])
async def test_a_row_of_each_table_lands_in_the_partition_of_its_day(
    pool: Pool, into_the_day: timedelta
) -> None:
    today = midnight(rows.now())
    async with pool.acquire() as link:
        for n in range(-1, 8):
            day = today + timedelta(days=n)
            await owe_and_try(link, day + into_the_day, State.DELIVERED)

            for table in partition.PARTITIONED:
                in_day = await link.fetchval(f"SELECT count(*) FROM {table}_{day:%Y%m%d}")
                assert (table, n, in_day) == (table, n, 1)


async def test_deliveries_are_reconciled_from_the_first_day_on_that_was_counted_as_a_whole(
    empty: str, pool: Pool
) -> None:
    link = await asyncpg.connect(empty)
    await migrate(link, shards=SHARDS, upto="0009_health.sql")
    await rows.delivery(link, "app_1", ids.new_id(ids.MESSAGE, rows.now()), "ep_1")

    await migrate(link, shards=SHARDS)

    today = await link.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    async with pool.acquire() as new:
        assert await reconciliation.state(link) == (today + timedelta(days=1), today)
        assert await reconciliation.state(new) == (date.min, today - timedelta(days=1))
    await link.close()


async def test_what_no_day_has_room_for_lands_in_the_default_partition(pool: Pool) -> None:
    async with pool.acquire() as link:
        await owe_and_try(link, rows.now() - timedelta(days=40), State.DELIVERED)

        for table in partition.PARTITIONED:
            assert await link.fetchval(f"SELECT count(*) FROM {table}_default") == 1


async def test_old_days_are_dropped_but_a_day_that_still_owes_is_kept_whole(pool: Pool) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    settled, pending, retrying, kept = (at + timedelta(days=n) for n in range(4))
    async with pool.acquire() as link:
        await partition.make(link, [settled, pending, retrying, kept])
        await owe_and_try(link, settled, State.DELIVERED)
        await owe_and_try(link, settled, State.DEAD)
        await owe_and_try(link, pending, State.PENDING)
        await owe_and_try(link, retrying, State.RETRYING)
        await owe_and_try(link, kept, State.DELIVERED)

        dropped = await partition.drop_before(link, kept)

        assert set(dropped) == {f"{table}_{settled:%Y%m%d}" for table in partition.PARTITIONED}
        for table in partition.PARTITIONED:
            assert await link.fetchval(f"SELECT count(*) FROM {table}") == 3


async def test_a_day_goes_once_it_owes_nothing_any_more(pool: Pool) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    async with pool.acquire() as link:
        await partition.make(link, [day])
        await owe_and_try(link, day, State.PENDING)
        assert await partition.drop_before(link, day + timedelta(days=1)) == []
        await link.execute("UPDATE delivery SET state = 'delivered', due_at = NULL")

        dropped = await partition.drop_before(link, day + timedelta(days=1))

        assert set(dropped) == {f"{table}_20260301" for table in partition.PARTITIONED}


async def owe_and_try(link: Link, at: datetime, state: State) -> None:
    """Store a message of a moment with a delivery and an attempt."""
    app_id, endpoint_id = ids.new_id(ids.APP, at), ids.new_id(ids.ENDPOINT, at)
    message_id = await rows.message(link, app_id, at)
    await rows.delivery(link, app_id, message_id, endpoint_id, state)
    await rows.attempt(link, app_id, message_id, endpoint_id, at=at, response_headers=None)
