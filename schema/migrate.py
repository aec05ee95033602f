"""Brings a database to the schema that this version needs: `migrations/*.sql`, in order, once each.

Each file runs in one transaction, under a lock, so that processes may start side by side. A file
that was applied must not change: its digest is kept and compared.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from schema import ids
from schema.errors import HooklineError
from schema.store import partition
from schema.store.link import Link

MIGRATIONS: Final = sorted((Path(__file__).parent / "migrations").glob("*.sql"))
_LOCK: Final = 0x686F6F6B  # "hook"
_LEDGER: Final = """
CREATE TABLE IF NOT EXISTS schema_migration (
    name text PRIMARY KEY, digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())
"""


class MigrationFault(HooklineError):
    """The database is of another version, or an applied migration was edited."""

    code = "migration"


async def migrate(connection: Link, *, shards: int, upto: str | None = None) -> list[str]:
    """Apply what is missing and give the names of what was applied.

    Args:
        connection: Not inside a transaction.
        shards: How many shards a new installation gets; an old one keeps its number.
        upto: Stop after this file (tests).

    Raises:
        MigrationFault: An applied file differs from ours, or the database is newer than we are.
    """
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await connection.execute(_LEDGER)
        applied = await _apply_missing(connection, upto)
        if upto is None:
            await _found(connection, shards)
            await make_partitions(connection)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return applied


async def missing(connection: Link) -> list[str]:
    """Name the migrations that the database lacks."""
    if await connection.fetchval("SELECT to_regclass('schema_migration')") is None:
        return [path.name for path in MIGRATIONS]
    done = {row["name"] for row in await connection.fetch("SELECT name FROM schema_migration")}
    return [path.name for path in MIGRATIONS if path.name not in done]


async def make_partitions(connection: Link) -> list[str]:
    """Make the partitions from yesterday to a week ahead; give the names of the new ones."""
    now: datetime = await connection.fetchval("SELECT now()")
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today + timedelta(days=n) for n in range(-1, 8)]
    return await partition.make(connection, days)


async def _apply_missing(connection: Link, upto: str | None) -> list[str]:
    rows = await connection.fetch("SELECT name, digest FROM schema_migration ORDER BY name")
    done: dict[str, str] = {row["name"]: row["digest"] for row in rows}
    strange = done.keys() - {path.name for path in MIGRATIONS}
    if strange:
        msg = f"the database has migrations that this version lacks: {', '.join(sorted(strange))}"
        raise MigrationFault(msg)
    applied = []
    for path in MIGRATIONS:
        text = path.read_text()
        digest = hashlib.sha256(text.encode()).hexdigest()
        if path.name not in done:
            async with connection.transaction():
                await connection.execute(text)
                await connection.execute(
                    "INSERT INTO schema_migration (name, digest) VALUES ($1, $2)", path.name, digest
                )
            applied.append(path.name)
        elif done[path.name] != digest:
            msg = f"migration {path.name} was applied in another wording; use the version that did"
            raise MigrationFault(msg)
        if path.name == upto:
            break
    return applied


async def _found(connection: Link, shards: int) -> None:
    """Give a new installation its shards and its first environment."""
    await connection.execute(
        """INSERT INTO shard (id) SELECT generate_series(0, $1 - 1)
           WHERE NOT EXISTS (SELECT FROM shard)""",
        shards,
    )
    if await connection.fetchval("SELECT NOT EXISTS (SELECT FROM environment)"):
        now = await connection.fetchval("SELECT now()")
        await connection.execute(
            """INSERT INTO environment (id, name, kind, is_default, created_at, updated_at)
               VALUES ($1, 'default', 'production', true, $2, $2)""",
            ids.new_id(ids.ENVIRONMENT, now),
            now,
        )
