"""What is dropped when it is old."""

from datetime import datetime

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("upkeep")


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that does the upkeep now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def prune(link: Link, before: datetime) -> None:
    """Drop what is of before: event ids, rejected events, counts, secrets, health, faults."""
    for name in (
        "prune_event_ids",
        "prune_rejected_events",
        "prune_rollups",
        "prune_hours",
        "prune_secrets",
        "prune_health",
        "prune_schema_faults",
    ):
        await link.execute(_SQL[name], before)


async def prune_keys(link: Link, before: datetime) -> None:
    """Drop what is left of keys and tokens that ended before."""
    for name in ("prune_keys", "prune_tokens"):
        await link.execute(_SQL[name], before)


async def prune_letters(link: Link, before: datetime, most: int) -> int:
    """Drop up to `most` dead letters that nothing was done to since; give their number."""
    return len(await link.fetch(_SQL["prune_letters"], before, most))


async def prune_groups(link: Link, before: datetime) -> None:
    """Drop groups that have no letters and got none since."""
    await link.execute(_SQL["prune_groups"], before)


async def prune_origins(link: Link, before: datetime) -> None:
    """Forget what events said of messages that were taken in before."""
    await link.execute(_SQL["prune_origins"], before)
