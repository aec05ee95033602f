"""A connection to NATS that breaks is made again, however it broke; and it can be ended."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest_asyncio
from nats.aio.msg import Msg

from deploy.bus import Bus
from deploy.embedded import plain_environ
from deploy.ports import first_free
from deploy.supervisor import Part
from tests.listener import HOST
from tests.passage import Passage
from tests.services import Server, Services

ASK = "ask.something"
SOON_S = 5.0
BURST_BYTES = 1_000_000
BURSTS = 24  # more than the system holds of what nobody reads


async def reply(msg: Msg) -> None:
    await msg.respond(b"so")


@dataclass(slots=True)
class Connected:
    """A client that answers, and whether it was without a connection and is back."""

    bus: Bus
    is_away: asyncio.Event = field(default_factory=asyncio.Event)
    is_back: asyncio.Event = field(default_factory=asyncio.Event)

    async def answers(self) -> bool:
        """Wait until it is back; ask, and tell whether it answers."""
        async with asyncio.timeout(SOON_S):
            await self.is_back.wait()
        return (await self.bus.request(ASK, timeout=SOON_S)).data == b"so"


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connected]:
    client = Connected(Bus())

    async def away() -> None:
        client.is_away.set()

    async def back() -> None:
        client.is_back.set()

    await client.bus.connect(
        url,
        disconnected_cb=away,
        reconnected_cb=back,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.05,  # type: ignore[arg-type]
        ping_interval=0.2,  # type: ignore[arg-type]
        max_outstanding_pings=2,
        pending_size=BURST_BYTES * BURSTS * 2,
    )
    try:
        await client.bus.subscribe(ASK, cb=reply)
        yield client
    finally:
        async with asyncio.timeout(SOON_S):
            await client.bus.close()


@asynccontextmanager
async def passage(services: Services) -> AsyncIterator[tuple[Passage, str]]:
    """Lend a passage to NATS; gives its address too."""
    nats = urlsplit(services.nats_url)
    async with Passage(lambda: asyncio.open_connection(HOST, nats.port)) as opened:
        yield opened, f"nats://{nats.username}:{nats.password}@{HOST}:{opened.port}"


class Plain(Server):
    """A NATS beside that of all tests, without JetStream."""

    def __init__(self, services: Services, directory: Path) -> None:
        self.port = first_free(())
        self._config = directory / "nats.conf"
        argv = (services.nats.part.argv[0], "--config", str(self._config))
        log = directory / "nats.log"
        super().__init__(
            Part(name="nats", argv=argv, environ=plain_environ(), ready=self._greets, log=log),
            log=log,
        )
        self.url = f"nats://{HOST}:{self.port}"
        self.limit("")

    def limit(self, more: str) -> None:
        """Have it go by this from the next start or reload."""
        self._config.write_text(f'listen: "{HOST}:{self.port}"\n{more}\n')

    def reload(self) -> None:
        os.kill(self.pid, signal.SIGHUP)

    async def _greets(self) -> bool:
        try:
            reader, stream = await asyncio.open_connection(HOST, self.port)
        except OSError:
            return False
        greeting = await reader.readline()
        stream.close()
        return greeting.startswith(b"INFO ")


@pytest_asyncio.fixture
async def plain(services: Services, directory: Path) -> AsyncIterator[Plain]:
    """Lend a NATS of one's own."""
    server = Plain(services, directory)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def overfill(bus: Bus) -> None:
    for _ in range(BURSTS):
        await bus.publish("to.nobody", bytes(BURST_BYTES))


async def test_a_connection_that_takes_nothing_more_is_left_and_another_one_made(
    services: Services,
) -> None:
    async with passage(services) as (between, url), connected(url) as client:
        between.hang()
        await overfill(client.bus)

        assert await client.answers()


async def test_a_connection_that_takes_nothing_more_can_be_ended(services: Services) -> None:
    async with passage(services) as (between, url):
        bus = Bus()
        await bus.connect(url, pending_size=BURST_BYTES * BURSTS * 2)
        between.hang()
        await overfill(bus)

        async with asyncio.timeout(SOON_S):
            await bus.close()

    assert bus.is_closed


async def test_a_client_is_back_although_jetstream_is_not(plain: Plain) -> None:
    async with connected(plain.url) as client:
        await plain.kill()
        await plain.start()

        assert await client.answers()
        assert client.bus.stats["reconnects"] == 1


async def test_a_client_that_was_sent_away_with_a_word_comes_back_once_it_may(
    plain: Plain,
) -> None:
    async with connected(plain.url) as one, connected(plain.url) as other:
        for client in (one, other):
            await client.bus.flush()
        plain.limit("max_connections: 1")
        plain.reload()
        waits = {asyncio.create_task(client.is_away.wait()): client for client in (one, other)}
        done, left = await asyncio.wait(waits, timeout=SOON_S, return_when="FIRST_COMPLETED")
        for waiting in left:
            waiting.cancel()
        plain.limit("")
        plain.reload()

        assert await waits[done.pop()].answers()
