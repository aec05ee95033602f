"""What is dropped when it is old."""

from datetime import datetime

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("upkeep")


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that does the upkeep now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def prune(link: Link, before: datetime) -> None:
    """Drop event ids, rejected events, rollups and expired secrets of before."""
    for name in (
        "prune_event_ids",
        "prune_rejected_events",
        "prune_rollups",
        "prune_secrets",
    ):
        await link.execute(_SQL[name], before)
