"""What apps are owed, for the gateway's quota."""

from collections.abc import Sequence

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("backlog")


async def owed(link: Link, apps: Sequence[tuple[int, str]], *, most: int) -> list[int]:
    """Count what each app (shard, id) is owed, up to `most`, in their order."""
    async with link.transaction():
        await link.fetchrow(_SQL["settings"])
        rows = await link.fetch(
            _SQL["owed"], [shard for shard, _ in apps], [app_id for _, app_id in apps], most
        )
    return [row["owed"] for row in rows]
