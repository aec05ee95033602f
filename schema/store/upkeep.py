"""What is dropped when it is old."""

from datetime import datetime

from schema import ids
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
        "prune_types",
        "prune_hours",
        "prune_secrets",
        "prune_health",
        "prune_schema_faults",
    ):
        await link.execute(_SQL[name], before)


async def prune_strays(link: Link, before: datetime, most: int) -> int:
    """Drop rows of before that lie in no day's partition, unless something of them is owed.

    Up to `most` attempts, deliveries and messages each; give the largest of the three numbers: as
    many as `most` means that there may be more.
    """
    by_attempt, by_message = ids.first_id(ids.ATTEMPT, before), ids.first_id(ids.MESSAGE, before)
    attempts = await link.fetch(_SQL["prune_stray_attempts"], by_attempt, most)
    deliveries = await link.fetch(_SQL["prune_stray_deliveries"], by_message, most)
    messages = await link.fetch(_SQL["prune_stray_messages"], by_message, most)
    return max(len(attempts), len(deliveries), len(messages))


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


async def prune_repeats(link: Link, before: datetime) -> None:
    """Drop idempotency keys, and the answers to them, of before."""
    await link.execute(_SQL["prune_message_keys"], ids.first_id(ids.MESSAGE, before))
    await link.execute(_SQL["prune_answers"], before)


async def expire_payloads(link: Link, now: datetime, most: int) -> int:
    """Forget payloads whose time is over, up to `most` of messages and of letters; give how many.

    The larger number: as many as `most` means that there may be more.
    """
    messages = await link.fetch(_SQL["expire_messages"], now, most)
    letters = await link.fetch(_SQL["expire_letters"], now, most)
    return max(len(messages), len(letters))
