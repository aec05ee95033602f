"""What the tests of the gateway's API are lent.

Each module has a database, a stream and a gateway of its own; each test has an environment in
them, with a key that may do everything. All of a module runs in one loop. A module that needs
another gateway says so by a `config` or a `shared` of its own.
"""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import SvixAsync

from gateway.config import GatewayConfig
from schema.store.link import Pool
from schema.store.pool import open_pool
from tests.command_line import Shell, untouched_logging
from tests.dispatching import Running, World, dispatching
from tests.gateway_server import CONFIG, Gateway, another_environment, serve
from tests.receiver import Receiver
from tests.services import Services, connected, streaming
from tests.tenants import Desk, Tenant

lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return CONFIG


@lent_to_the_module
async def pool(services: Services) -> AsyncIterator[Pool]:
    async with services.database() as url, await open_pool(url, size=12) as opened:
        yield opened


@lent_to_the_module
async def bus(services: Services) -> AsyncIterator[Client]:
    """Lend a connection to a NATS that has the stream of events."""
    async with connected(services.nats_url) as client, streaming(client):
        yield client


@lent_to_the_module
async def shared(pool: Pool, bus: Client, config: GatewayConfig) -> AsyncIterator[Gateway]:
    """Lend the gateway that the module's tests share, in the default environment."""
    async with serve(pool, bus, config=config) as running:
        yield running


@lent_to_a_test
async def gateway(shared: Gateway) -> AsyncIterator[Gateway]:
    """Lend an environment of the test's own, and a key that may do everything."""
    async with another_environment(shared) as own:
        yield own


@lent_to_a_test
async def svix(gateway: Gateway) -> SvixAsync:
    return gateway.svix()


@lent_to_a_test
async def http(gateway: Gateway) -> httpx.AsyncClient:
    return gateway.http()


@lent_to_a_test
async def desk(gateway: Gateway) -> AsyncIterator[Desk]:
    async with gateway.pool.acquire() as link:
        yield Desk(gateway=gateway, link=link)


@lent_to_a_test
async def tenant(desk: Desk) -> Tenant:
    return await desk.tenant()


@lent_to_a_test
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


@lent_to_a_test
async def running(gateway: Gateway, services: Services) -> AsyncIterator[Running]:
    """Lend a dispatcher at work."""
    async with dispatching(gateway.pool, services.nats_url) as made:
        yield made


@lent_to_a_test
async def world(gateway: Gateway) -> World:
    return World(pool=gateway.pool, environment_id=gateway.environment_id)


@lent_to_a_test
async def environ(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Say where the gateway is, in the environment too."""
    said = {
        "HOOKLINE_URL": gateway.url,
        "HOOKLINE_KEY": gateway.key,
        "HOOKLINE_HOME": str(tmp_path / "home"),
        "HOOKLINE_LOG_LEVEL": "warning",
        "COLUMNS": "200",
    }
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    return said


@pytest.fixture
def shell(environ: dict[str, str], capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """Lend a shell whose commands find the gateway."""
    assert environ
    with untouched_logging():
        yield Shell(capsys=capsys)
