"""Payloads forgotten by the hundred, and what is still owed called off."""

from collections.abc import Sequence
from datetime import datetime

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("expunge")


async def find(link: Link, app_id: str, refs: Sequence[str]) -> dict[str, str]:
    """Give the messages that ids or event ids mean, by these."""
    rows = await link.fetch(_SQL["find"], app_id, list(refs))
    return {refs[row["number"] - 1]: row["id"] for row in rows}


async def page(link: Link, app_id: str, *, behind: str, before: str, most: int) -> list[str]:
    """Give ids of messages of an app, in order."""
    return [row["id"] for row in await link.fetch(_SQL["page"], app_id, behind, before, most)]


async def expunge(
    link: Link, app_id: str, message_ids: Sequence[str], at: datetime
) -> tuple[int, set[str]]:
    """Forget payloads and call off what is owed; give how many there were, and the endpoints."""
    if not message_ids:
        return 0, set()
    given = (app_id, list(message_ids), min(message_ids), max(message_ids))
    cancelled = await link.fetch(_SQL["cancel"], *given)
    forgotten = await link.fetch(_SQL["forget"], *given, at)
    return len(forgotten), {row["endpoint_id"] for row in cancelled}


async def cancel_of_endpoint(
    link: Link, app_id: str, endpoint_id: str, *, shard: int, before: str, most: int, at: datetime
) -> int:
    """Call off what an endpoint is owed of messages before an id; give how many, at most `most`."""
    rows = await link.fetch(
        _SQL["cancel_of_endpoint"], shard, app_id, endpoint_id, before, most, at
    )
    return len(rows)
