"""A whole Hookline as an operator runs it: real processes on a database and a NATS of its own.

    async with installed(services, HOOKLINE_RETRY_SCHEDULE="0.1,0.2") as here:
        ...  # talk to here.url with here.key, or publish to here.nats_url
        await here.kill("dispatcher-1")
        await here.start("dispatcher-1")

Postgres is the session's (`here.kill("postgres")` works all the same); the rest lives and dies with
the installation. When a test fails, what every process printed is shown with it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace

from deploy import parts
from deploy.clock import now
from deploy.connections import connection
from deploy.embedded_nats import prepare_nats
from deploy.home import Home, hold
from deploy.install import install
from deploy.keys import create_key
from deploy.ports import LOOPBACK
from deploy.settings import Settings
from deploy.telemetry import share_metrics
from signer.vault import generate_keyring_text
from tests.services import SHARDS, Server, Services, directory_of_its_own

# Quick to notice and quick to stop; a test may say otherwise.
USUAL = {
    "HOOKLINE_ALLOWED_NETWORKS": "127.0.0.0/8",
    "HOOKLINE_SHARDS": str(SHARDS),
    "HOOKLINE_STREAM_MAX_BYTES": str(2**28),
    "HOOKLINE_LEASE_S": "3",
    "HOOKLINE_DRAIN_S": "5",
    "HOOKLINE_LOG_LEVEL": "info",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """Servers and processes by name: postgres, nats, gateway-1, dispatcher-1 and so on."""

    settings: Settings
    key: str  # of the operator
    urls: Sequence[str]  # of the gateways, in order
    servers: dict[str, Server] = field(repr=False)

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def nats_url(self) -> str:
        return parts.addresses(self.settings)["NATS_URL"]

    @property
    def database_url(self) -> str:
        return parts.addresses(self.settings)["DATABASE_URL"]

    async def start(self, name: str) -> None:
        """Start a part again and wait until it is ready."""
        await self.servers[name].start()

    async def stop(self, name: str) -> None:
        """Ask a part to end, and wait until it has."""
        await self.servers[name].stop()

    async def kill(self, name: str) -> None:
        """End a part with SIGKILL."""
        await self.servers[name].kill()

    def printed(self) -> str:
        """Give what every part printed."""
        return "\n".join(f"--- {name}\n{server.printed()}" for name, server in self.servers.items())


@asynccontextmanager
async def installed(
    services: Services, *, gateways: int = 1, dispatchers: int = 1, **environ: str
) -> AsyncIterator[Installation]:
    """Run an installation.

    Args:
        services: Lends the database.
        gateways: How many, as gateway-1 and so on, each on a port of its own.
        dispatchers: How many, as dispatcher-1 and so on.
        environ: Settings over the usual ones.
    """
    async with AsyncExitStack() as stack:
        home = Home.at(stack.enter_context(directory_of_its_own()) / "home")
        stack.enter_context(hold(home))
        environ["DATABASE_URL"] = await stack.enter_async_context(services.database())
        here = await _install(home, services, gateways, environ)
        here.servers.update(_processes(here, home, dispatchers))
        stack.push_async_callback(_stop_all, here, services)
        async with asyncio.TaskGroup() as group:
            for server in here.servers.values():
                if not server.runs:
                    group.create_task(server.start())
        try:
            yield here
        except BaseException:
            print(here.printed())
            raise


async def _install(
    home: Home, services: Services, gateways: int, environ: dict[str, str]
) -> Installation:
    """Start NATS, bring database and stream to what is needed, make a key."""
    nats = await prepare_nats(
        home, max_payload_bytes=1_048_576, stream_max_bytes=2**30, notes=[], ports=()
    )
    settings = Settings.from_environ(
        {
            "HOOKLINE_HOME": str(home.root),
            "HOOKLINE_VAULT_KEYS": generate_keyring_text().strip(),
            "NATS_URL": nats.url,
            **USUAL,
            **environ,
        }
    )
    server = Server(nats.part, log=home.log / "nats.log")
    await server.start()
    try:
        await install(settings)
        async with connection(settings) as link:
            _, text = await create_key(link, name="test", environment_id=None, now=now())
    except BaseException:
        await server.kill()
        raise
    return Installation(
        settings=settings,
        key=text,
        urls=[f"http://{LOOPBACK}:{port}" for port in _free_ports(gateways)],
        servers={"postgres": services.postgres, "nats": server},
    )


def _processes(here: Installation, home: Home, dispatchers: int) -> dict[str, Server]:
    shared = share_metrics(home.run / "metrics")
    environ = parts.child_environ(here.settings, shared)
    ours = [parts.dispatcher(here.settings, home, n + 1, environ) for n in range(dispatchers)]
    for number, url in enumerate(here.urls, 1):
        settings = replace(here.settings, port=int(url.rpartition(":")[2]))
        ours.append(parts.gateway(settings, number, parts.child_environ(settings, shared)))
    return {part.name: Server(part, log=home.log / f"{part.name}.log") for part in ours}


def _free_ports(number: int) -> list[int]:
    """Find ports that differ: all are held until the last is found."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.create_server((LOOPBACK, 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in sockets]


async def _stop_all(here: Installation, services: Services) -> None:
    """Stop what is the installation's own, and give Postgres back running."""
    for server in reversed(here.servers.values()):
        if server is not services.postgres:
            await server.stop()
    if not services.postgres.runs:
        await services.postgres.start()
