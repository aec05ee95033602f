"""A directory of apps that hears of changes, as a dispatcher's does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispatcher.match import Directory, Tenant
from schema.store.changes import Changes
from schema.store.link import Pool
from tests.dispatching import VAULT, config, eventually, now
from tests.services import SHARDS


class HearingDirectory(Directory):
    """A directory that has heard of what changed before it is asked."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool=pool, vault=VAULT, config=config(), shards=SHARDS)
        self.changes = Changes(pool, on_change=self.changed, on_break=self.forget_all)

    async def found(self, app: str, environment: str | None = None) -> Tenant | None:
        """Look an app up by id or uid."""
        await self.changes.sync()
        return (await self.find({(environment, app)}, now())).get((environment, app))


@asynccontextmanager
async def hearing(pool: Pool) -> AsyncIterator[HearingDirectory]:
    """Lend a directory that hears of changes."""
    made = HearingDirectory(pool)
    task = asyncio.create_task(made.changes.run())
    await eventually(lambda: made.changes.hears)
    yield made
    task.cancel()
    await asyncio.wait([task])
