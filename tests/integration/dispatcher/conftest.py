"""What most tests of the dispatcher begin with."""

from collections.abc import AsyncIterator

import pytest_asyncio

from schema.store.link import Pool
from schema.store.pool import open_pool
from tests.directories import HearingDirectory, hearing
from tests.dispatching import World, new_world
from tests.receiver import Receiver

POOL_SIZE = 6  # a connection plans anew what others have planned


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """Lend connections to the test's database, as a dispatcher opens them."""
    async with await open_pool(database, size=POOL_SIZE, batches=True) as opened:
        yield opened


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await new_world(pool)


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as listening:
        yield listening


@pytest_asyncio.fixture
async def directory(pool: Pool) -> AsyncIterator[HearingDirectory]:
    async with hearing(pool) as made:
        yield made
