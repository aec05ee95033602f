"""A gateway on a loopback socket, as a caller meets it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import ip_network

import httpx
import uvicorn
from nats.aio.client import Client
from starlette.applications import Starlette
from svix.api import SvixAsync

from gateway.app import create_app
from gateway.config import GatewayConfig
from schema import ids
from schema.api_key import KeyKind, hash_of, issue
from schema.app import Environment
from schema.scope import ALL_SCOPES
from schema.store import api_key, environment
from schema.store.link import Pool
from signer.vault import Vault
from tests.clients import Svix, plain_client
from tests.services import SHARDS

VAULT = Vault({"test": bytes(range(32))}, "test")
# JSON that nothing may touch between a publisher and an endpoint.
PAYLOADS = [
    b'{"a":1}',
    b'{ "b" : [1,  2.50, -0.0, 1e300], "a":\t"\\u00e9 \xc3\xa9 \\/" }',
    b'{"a":1,"a":2}',
    b"{}",
    b'{"n":12345678901234567890123456789012345678901234567890,"f":1.0000000000000000000001}',
    b'{"nested":{"payload":{"payload":"}"}}}',
    b'{"cut in an emoji":"\\ud83d","\\udf89":"\\\\ud83d \\uD83C\\uDF89"}',
]
CONFIG = GatewayConfig(shards=SHARDS, allowed_networks=(ip_network("127.0.0.0/8"),))


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that serves, a key of the installation's operator, and clients that it closes."""

    url: str
    key: str
    environment_id: str
    app: Starlette
    pool: Pool
    clients: AsyncExitStack = field(default_factory=AsyncExitStack)

    def svix(self, key: str | None = None) -> SvixAsync:
        """Give the official client; it does not try again."""
        client = Svix(self.url, key or self.key)
        self.clients.push_async_callback(client.aclose)
        return client

    def http(self, key: str | None = None) -> httpx.AsyncClient:
        """Give a plain client with a key."""
        headers = {"authorization": f"Bearer {key or self.key}"}
        client = plain_client(base_url=self.url, headers=headers)
        self.clients.push_async_callback(client.aclose)
        return client


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def serve(
    pool: Pool,
    bus: Client,
    *,
    config: GatewayConfig = CONFIG,
    clock: Callable[[], datetime] = now,
) -> AsyncIterator[Gateway]:
    """Serve a gateway; give it once it listens and hears of changes."""
    app = create_app(pool=pool, bus=bus, vault=VAULT, clock=clock, config=config)
    async with pool.acquire() as link:
        default = await environment.find_default(link)
    assert default is not None
    text = await make_key(pool, default.id, scopes=(ALL_SCOPES,))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(server.serve())
        async with asyncio.timeout(10):
            while not (server.started and app.state.parts.apps.cache.hears):
                assert not serving.done()
                await asyncio.sleep(0.005)
        host, port = server.servers[0].sockets[0].getsockname()
        gateway = Gateway(
            url=f"http://{host}:{port}",
            key=text,
            environment_id=default.id,
            app=app,
            pool=pool,
        )
        try:
            async with gateway.clients:
                yield gateway
        finally:
            server.should_exit = True
            await serving


@asynccontextmanager
async def another_environment(shared: Gateway) -> AsyncIterator[Gateway]:
    """Lend an environment of one's own, with a key that may do everything."""
    environment_id = await make_environment(shared.pool)
    key = await make_key(shared.pool, environment_id, scopes=(ALL_SCOPES,))
    async with AsyncExitStack() as clients:
        yield replace(shared, environment_id=environment_id, key=key, clients=clients)


async def make_environment(pool: Pool) -> str:
    """Make an environment; give its id."""
    at = now()
    made = Environment(
        id=ids.new_id(ids.ENVIRONMENT, at),
        name="test",
        kind="development",
        is_default=False,
        retry_policy=None,
        created_at=at,
        updated_at=at,
    )
    async with pool.acquire() as link:
        await environment.insert(link, made)
    return made.id


async def make_key(
    pool: Pool,
    environment_id: str,
    *,
    kind: KeyKind = KeyKind.OPERATOR,
    app_id: str | None = None,
    scopes: tuple[str, ...] = (),
    expires_at: datetime | None = None,
    capabilities: tuple[str, ...] | None = None,
    endpoint_id: str | None = None,
) -> str:
    """Make a key as the command line does; give its text."""
    key, text = issue(
        environment_id=environment_id,
        app_id=app_id,
        kind=kind,
        at=now(),
        name="test",
        scopes=scopes,
        expires_at=expires_at,
        capabilities=capabilities,
        integration_id=ids.new_id(ids.INTEGRATION, now()) if kind is KeyKind.INTEGRATION else None,
        poller_id=ids.new_id(ids.POLLER, now()) if kind is KeyKind.POLLER else None,
        endpoint_id=_configured(kind, endpoint_id),
    )
    async with pool.acquire() as link:
        await api_key.create(link, key, hash_of(text))
    return text


def _configured(kind: KeyKind, endpoint_id: str | None) -> str | None:
    """Say what a key configures: nothing that there is, if nobody says."""
    if kind is not KeyKind.AUTO_CONFIG:
        return None
    return endpoint_id or ids.new_id(ids.ENDPOINT, now())
