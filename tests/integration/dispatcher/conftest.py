"""What most tests of the dispatcher begin with."""

from collections.abc import AsyncIterator

import pytest_asyncio

from schema.store.link import Pool
from tests.directories import HearingDirectory, hearing
from tests.dispatching import World, new_world
from tests.receiver import Receiver


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
