"""Attempts counted by event type, in buckets of five minutes."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from schema.store import statements
from schema.store.link import Link
from schema.store.statistics import Attempted, in_periods

BUCKET: Final = timedelta(minutes=5)
NAMELESS: Final = ""  # the event type of all that was counted together
_SQL = statements.load("type_count")


class Folded(NamedTuple):
    """What was added up: of how many statements, and how many attempts under no name."""

    statements: int
    nameless: int


class Tried(NamedTuple):
    """Attempts by how they ended."""

    delivered: int
    failed: int


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that adds up now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def fold(link: Link, *, most: int, types: int) -> Folded:
    """Add up what statements that settled counted; the transaction has the lock.

    Args:
        link: A connection.
        most: How many statements.
        types: How many event types an app may have in a bucket, before the rest has no name.
    """
    row = await link.fetchrow(_SQL["fold"], most, types)
    return Folded(row["statements"], int(row["nameless"])) if row else Folded(0, 0)


async def by_type(
    link: Link,
    app_id: str,
    *,
    since: datetime,
    until: datetime,
    event_types: Collection[str] | None,
    most: int,
) -> dict[str, Tried]:
    """Count the attempts for an app between two buckets, by event type.

    Args:
        link: A connection.
        app_id: Whose.
        since: The beginning of the first bucket.
        until: The end of the last.
        event_types: Of these alone.
        most: How many event types are told apart; the rest is `NAMELESS`.
    """
    wanted = None if event_types is None else list(event_types)
    rows = await link.fetch(_SQL["by_type"], app_id, since, until, wanted, most)
    return {row["event_type"]: Tried(row["delivered"], row["failed"]) for row in rows}


async def by_period(
    link: Link,
    app_id: str,
    *,
    event_types: Collection[str],
    since: datetime,
    period: timedelta,
    periods: int,
) -> Attempted:
    """Count the attempts for an app of some event types, period by period, in whole buckets."""
    until, period_s = since + periods * period, int(period.total_seconds())
    rows = await link.fetch(_SQL["by_period"], app_id, since, until, period_s, list(event_types))
    return in_periods(rows, periods)
