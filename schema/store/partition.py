"""The day partitions of message, delivery and attempt: made ahead, dropped when old.

Bounds are ids: the first id of a day. DDL cannot take parameters; all names and bounds are made
here from dates, none from input.
"""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from schema import ids
from schema.store.link import Link

_log = logging.getLogger(__name__)
PARTITIONED: Final = {"message": ids.MESSAGE, "delivery": ids.MESSAGE, "attempt": ids.ATTEMPT}


async def make(connection: Link, days: Sequence[datetime]) -> list[str]:
    """Make what is missing of the partitions for `days` (UTC midnights); give the new names.

    A day of which rows lie in the default partition already stays there: it costs its dropping, and
    must not cost the other days.
    """
    made = []
    for day in days:
        for table, prefix in PARTITIONED.items():
            name = f"{table}_{day:%Y%m%d}"
            if await connection.fetchval("SELECT to_regclass($1)", name) is not None:
                continue
            low, high = ids.first_id(prefix, day), ids.first_id(prefix, day + timedelta(days=1))
            try:
                async with connection.transaction():
                    await connection.execute(
                        f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} "
                        f"FOR VALUES FROM ('{low}') TO ('{high}')"
                    )
            except asyncpg.CheckViolationError:
                _log.warning("%s_default has rows of the day of %s", table, name)
                continue
            made.append(name)
    return made


async def drop_before(connection: Link, day: datetime) -> list[str]:
    """Drop the partitions of days before `day` in which nothing is owed; give their names."""
    dropped = []
    for table in ("attempt", "delivery", "message"):
        rows = await connection.fetch(
            """SELECT inhrelid::regclass::text AS name FROM pg_inherits
               WHERE inhparent = $1::regclass AND inhrelid::regclass::text ~ '_[0-9]{8}$'
               ORDER BY 1""",
            table,
        )
        for row in rows:
            name: str = row["name"]
            if name.rpartition("_")[2] < f"{day:%Y%m%d}" and not await _owed(connection, name):
                await connection.execute(f"DROP TABLE {name}")
                dropped.append(name)
    return dropped


async def _owed(connection: Link, name: str) -> bool:
    """Tell whether a day still owes deliveries; its messages and attempts are then kept too."""
    deliveries = f"delivery_{name.rpartition('_')[2]}"
    if await connection.fetchval("SELECT to_regclass($1)", deliveries) is None:
        return False
    found = await connection.fetchval(
        f"SELECT EXISTS (SELECT FROM {deliveries} WHERE state IN ('pending', 'retrying'))"  # noqa: S608
    )
    return bool(found)
