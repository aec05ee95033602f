"""What tests are lent: real servers for the session, a database and connections for each test."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio
from nats.aio.client import Client

from schema.store.link import Pool
from schema.store.pool import open_pool
from tests.services import (
    Services,
    connected,
    directory_of_its_own,
    running_services,
    streaming,
)

POOL_SIZE = 10

# A slow machine is no fault of an example.
hypothesis.settings.register_profile("hookline", deadline=None)
hypothesis.settings.load_profile("hookline")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Lend a directory that servers may work in."""
    with directory_of_its_own() as made:
        yield made


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def services() -> AsyncIterator[Services]:
    """Lend Postgres and NATS; they start when the first test asks for them."""
    async with running_services() as running:
        yield running


@pytest_asyncio.fixture
async def database(services: Services) -> AsyncIterator[str]:
    """Lend a migrated database that no other test has; gives its address."""
    async with services.database() as url:
        yield url


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    """Lend connections to the test's database."""
    async with await open_pool(database, size=POOL_SIZE) as opened:
        yield opened


@pytest_asyncio.fixture
async def bus(services: Services) -> AsyncIterator[Client]:
    """Lend a connection to NATS."""
    async with connected(services.nats_url) as client:
        yield client


@pytest_asyncio.fixture
async def stream(bus: Client) -> AsyncIterator[str]:
    """Lend the stream of events, empty; gives its name."""
    async with streaming(bus) as name:
        yield name
