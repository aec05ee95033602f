"""Real servers for tests: one Postgres and one NATS for a session, a database for each test.

A `Server` is no child of an event loop, so a test may kill one that the session started, and start
it again.
"""

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
from nats.aio.client import Client

from deploy.bus import Bus
from deploy.embedded import make_database, postgres_url, prepare_postgres
from deploy.embedded_nats import prepare_nats
from deploy.home import Home, hold, open_log
from deploy.settings import Settings
from deploy.streams import ensure_stream, events_stream
from deploy.supervisor import Part, popen_options
from schema.event import STREAM
from schema.migrate import migrate

SHARDS = 8
TEMPLATE = "hookline"  # what `make_database` makes; migrated once
READY_S = 30.0
# Tests kill processes, never the machine, so nothing has to be on the disk. With it goes the
# cheapest way to copy a database of some hundred relations, in 20 ms where a disk takes 300.
# Nobody waits a second either until Postgres looks for a deadlock.
QUICK = ("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "deadlock_timeout=50ms")
MEMORY = Path("/dev/shm")  # noqa: S108 - only the parent of directories of our own
ROOM_BYTES = 2**31  # what it must have free, for databases and streams
LOG_BYTES = 20_000


class Server:
    """A process that a test may stop, kill and start again. What it prints is kept in a file."""

    def __init__(self, part: Part, *, log: Path) -> None:
        self.part = part
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.part.name} was never started"
        return self._process.pid

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        assert not self.runs, f"{self.part.name} runs already"
        log = open_log(self._log)
        self._process = subprocess.Popen(
            self.part.argv, stdout=log, stderr=subprocess.STDOUT, **popen_options(self.part)
        )
        os.close(log)
        async with asyncio.timeout(READY_S):
            while not await self.part.ready():
                assert self.runs, f"{self.part.name} ended at its start:\n{self.printed()}"
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        await self._end(self.part.stop_signal)

    async def kill(self) -> None:
        """End it and whatever it started with SIGKILL."""
        await self._end(signal.SIGKILL)

    def printed(self) -> str:
        """Give the end of what it printed."""
        text = self._log.read_text(errors="replace") if self._log.exists() else ""
        return text[-LOG_BYTES:]

    async def _end(self, how: signal.Signals) -> None:
        if self._process is None or not self.runs:
            return
        if how != signal.SIGKILL:
            self._process.send_signal(how)
            await asyncio.to_thread(self._process.wait, self.part.stop_s)
            return
        children = _children(self._process.pid)
        os.killpg(self._process.pid, how)
        await asyncio.to_thread(self._process.wait, self.part.stop_s)
        # Postgres's are in groups of their own. They end by themselves, and until the last one has
        # it does not start again.
        async with asyncio.timeout(READY_S):
            while any(map(_lives, children)):
                await asyncio.sleep(0.01)


def _children(pid: int) -> list[int]:
    """Give the processes that a process has started and that have not ended."""
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def _lives(pid: int) -> bool:
    """Tell whether a process is there and not only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The servers of a session."""

    home: Home
    postgres: Server
    nats: Server
    nats_url: str

    def database_url(self, name: str) -> str:
        return postgres_url(self.home.run / "postgres", name)

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """Lend a migrated database of one's own; gives its address."""
        name = f"t_{secrets.token_hex(6)}"
        await self._administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY file_copy")
        try:
            yield self.database_url(name)
        finally:
            await self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def _administer(self, statement: str) -> None:
        link = await asyncpg.connect(self.database_url("postgres"))
        try:
            await link.execute(statement)
        finally:
            await link.close()


@asynccontextmanager
async def running_services() -> AsyncIterator[Services]:
    """Run Postgres, with the template of every test's database, and NATS."""
    with directory_of_its_own() as directory, hold(home := Home.at(directory)):
        postgres = await prepare_postgres(home, notes=[])
        nats = await prepare_nats(
            home, max_payload_bytes=1_048_576, stream_max_bytes=2**30, notes=[], ports=()
        )
        services = Services(
            home=home,
            postgres=Server(_quick(postgres.part), log=home.log / "postgres.log"),
            nats=Server(nats.part, log=home.log / "nats.log"),
            nats_url=nats.url,
        )
        try:
            await services.postgres.start()
            await services.nats.start()
            await _make_template(postgres.url)
            yield services
        finally:
            await services.nats.stop()
            await services.postgres.stop()


@contextmanager
def directory_of_its_own() -> Iterator[Path]:
    """Lend a directory, in memory if there is room.

    It is not pytest's: that is shut to other accounts, and Postgres may run as one.
    """
    roomy = MEMORY.exists() and shutil.disk_usage(MEMORY).free >= ROOM_BYTES
    made = Path(tempfile.mkdtemp(prefix="hookline-test-", dir=MEMORY if roomy else None))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@asynccontextmanager
async def connected(nats_url: str) -> AsyncIterator[Client]:
    """Connect to NATS; comes back by itself when NATS was away."""
    client = Bus()
    await client.connect(nats_url, max_reconnect_attempts=-1, reconnect_time_wait=1)
    try:
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def streaming(bus: Client) -> AsyncIterator[str]:
    """Lend the stream of events, empty; gives its name."""
    jetstream = bus.jetstream()
    config = events_stream(Settings(stream_max_bytes=2**28), shards=SHARDS)
    await ensure_stream(jetstream, config)
    yield STREAM
    await jetstream.delete_stream(STREAM)


def _quick(postgres: Part) -> Part:
    return replace(postgres, argv=(*postgres.argv, *QUICK))


async def _make_template(url: str) -> None:
    await make_database(url)
    link = await asyncpg.connect(url)
    try:
        await migrate(link, shards=SHARDS)
    finally:
        await link.close()
