"""Work that somebody other than a shard's owner made."""

from collections.abc import Collection

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("wake")


async def add(
    link: Link, shard: int, app_id: str, endpoint_ids: Collection[str], *, recall: bool = False
) -> None:
    """Note that the owner of a shard must look at endpoints of an app.

    `recall`: something they are owed was called off, which the owner may hold in memory.
    """
    await link.execute(_SQL["add"], shard, app_id, sorted(endpoint_ids), recall)
