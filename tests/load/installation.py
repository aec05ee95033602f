"""What is measured: `hookline up` in a temporary home, and dispatchers that rows start and stop.

`up` runs Postgres, NATS and a gateway with the settings that they have in production; dispatchers
are run by the same command line as `up` has for them, but by us, so that a row may have none, two,
or a fresh one.
"""

import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx

from deploy import parts
from deploy.home import Home, read_env
from deploy.ports import LOOPBACK, first_free
from deploy.settings import Settings
from deploy.supervisor import Part
from deploy.telemetry import share_metrics
from schema.event import publish_subject
from schema.ids import shard_of
from tests.load.machine import children, peak_bytes, tree_cpu_s
from tests.load.payload import EVENT_TYPE
from tests.load.waiting import LoadFault, until
from tests.services import Server

_PARTS_OF_UP: Final = ("gateway", "postgres", "nats")
_SHARDS_S: Final = 30.0
_OWNED: Final = "SELECT count(*) FROM shard WHERE lease_until > now() GROUP BY owner"
_API_S: Final = 30.0
_MOST_APPS: Final = 5_000  # made in search of one on a certain shard

Link = asyncpg.Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A running Hookline: where it is, its processes, and its API."""

    settings: Settings
    home: Home
    url: str
    nats_url: str
    database_url: str
    key: str
    pids: Mapping[str, int]
    environ: Mapping[str, str] = field(repr=False)
    client: httpx.AsyncClient = field(repr=False)
    dispatchers: dict[int, Server] = field(default_factory=dict)

    def cpu_s(self) -> dict[str, float]:
        """Give the CPU time that each part has taken so far; ended dispatchers do not count."""
        running = [one.pid for one in self.dispatchers.values() if one.runs]
        used = {part: tree_cpu_s(pid) for part, pid in self.pids.items()}
        return {"dispatcher": sum(map(tree_cpu_s, running))} | used

    def peak_bytes(self) -> int:
        """Give the most memory that one of the running dispatchers has had."""
        return max(peak_bytes(one.pid) for one in self.dispatchers.values() if one.runs)

    async def start_dispatcher(self, number: int = 1) -> None:
        """Start a dispatcher; returns when it is connected."""
        part = parts.dispatcher(self.settings, self.home, number, self.environ)
        log = self.home.log / f"dispatcher-{number}.log"
        self.dispatchers[number] = Server(part, log=log)
        await self.dispatchers[number].start()

    async def start_and_own(self, *numbers: int) -> None:
        """Start the dispatchers that do not run yet; wait until all shards are shared evenly."""
        for number in numbers:
            if number not in self.dispatchers or not self.dispatchers[number].runs:
                await self.start_dispatcher(number)
        share = self.settings.shards // len(numbers)
        async with self.link() as link:

            async def shared() -> bool:
                owned = await link.fetch(_OWNED)
                return len(owned) == len(numbers) and min(row["count"] for row in owned) >= share

            await until(shared, "all shards owned, evenly", most_s=_SHARDS_S)

    def check(self) -> None:
        """See that every dispatcher that was started still runs.

        Raises:
            LoadFault: One has ended.
        """
        for one in self.dispatchers.values():
            if not one.runs:
                raise LoadFault(f"{one.part.name} has ended")

    async def stop_dispatchers(self) -> None:
        """Stop every dispatcher in order."""
        for one in self.dispatchers.values():
            await one.stop()

    async def kill_dispatchers(self) -> None:
        """End every dispatcher without a word."""
        for one in self.dispatchers.values():
            await one.kill()

    @asynccontextmanager
    async def link(self) -> AsyncIterator["Link[asyncpg.Record]"]:
        """Lend a connection to its database."""
        opened = await asyncpg.connect(self.database_url, timeout=_API_S)
        try:
            yield opened
        finally:
            await opened.close()

    async def new_app(self, fits: Callable[[int], bool] = lambda _: True) -> str:
        """Make an app whose shard fits; gives its id."""
        for _ in range(_MOST_APPS):
            app_id = str((await self._post("/api/v1/app", {"name": "bench"}))["id"])
            if fits(self.shard_of(app_id)):
                return app_id
        raise LoadFault("no app fell on the shard")

    async def app_of_each_shard(self) -> list[str]:
        """Make apps until every shard has one; gives one of each."""
        found = dict[int, str]()
        while len(found) < self.settings.shards:
            app_id = await self.new_app(lambda shard: shard not in found)
            found[self.shard_of(app_id)] = app_id
        return list(found.values())

    async def new_endpoint(self, app_id: str, url: str, **fields: object) -> str:
        """Make an endpoint; gives its id."""
        made = await self._post(f"/api/v1/app/{app_id}/endpoint", {"url": url, **fields})
        return str(made["id"])

    async def with_endpoint(self, url: str, **fields: object) -> str:
        """Make an app with one endpoint; gives the app's id."""
        app_id = await self.new_app()
        await self.new_endpoint(app_id, url, **fields)
        return app_id

    def shard_of(self, app_id: str) -> int:
        """Say which shard an app belongs to."""
        return shard_of(app_id, self.settings.shards)

    async def redeliver(self, app_id: str) -> str:
        """Have all dead letters of an app redelivered; gives the task's id."""
        path = f"/api/v1/app/{app_id}/dead-letter/redeliver"
        return str((await self._post(path, {}, status=202))["id"])

    async def _post(self, path: str, fields: object, *, status: int = 201) -> Any:
        response = await self.client.post(path, json=fields)
        if response.status_code != status:
            raise LoadFault(f"POST {path}: {response.status_code} {response.text}")
        return response.json()


def subject(app_id: str) -> str:
    """Give the subject on which the load publishes an app's events."""
    return publish_subject(app_id, EVENT_TYPE)[0]


@asynccontextmanager
async def installed(authority: Path | None = None) -> AsyncIterator[Installation]:
    """Run `hookline up` with the settings that it has by itself, but that loopback is allowed.

    Args:
        authority: A PEM file; its certificates are trusted instead of the system's.
    """
    home = Home.at(Path(tempfile.mkdtemp(prefix="hookline-bench-")))
    settings = Settings(
        home=home.root,
        port=first_free(()),
        dispatchers=0,
        allowed_networks=(ip_network("127.0.0.0/8"),),
        log_level="warning",
    )
    log = home.root.with_suffix(".log")
    environ = {} if authority is None else {"SSL_CERT_FILE": str(authority)}
    server = Server(_up(settings, home, environ), log=log)
    try:
        await server.start()
        async with _described(settings, home, server.pid, environ) as here:
            try:
                yield here
            except Exception:
                _show_end(server, *here.dispatchers.values())
                raise
            finally:
                await here.kill_dispatchers()
    finally:
        await server.stop()
        shutil.rmtree(home.root, ignore_errors=True)
        log.unlink(missing_ok=True)


@asynccontextmanager
async def _described(
    settings: Settings, home: Home, up_pid: int, more: Mapping[str, str]
) -> AsyncIterator[Installation]:
    env, key = read_env(home), home.operator_key.read_text().strip()
    pids = children(up_pid, _PARTS_OF_UP)
    if len(pids) < len(_PARTS_OF_UP):
        raise LoadFault(f"of {_PARTS_OF_UP} only {sorted(pids)} run")
    headers = {"authorization": f"Bearer {key}"}
    url = env["HOOKLINE_URL"]
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=_API_S) as client:
        yield Installation(
            settings=settings,
            home=home,
            url=url,
            nats_url=env["NATS_URL"],
            database_url=env["DATABASE_URL"],
            key=key,
            pids=pids,
            # Counting in shared files is what dispatchers under `up` do, so these do as well.
            environ=parts.child_environ(
                settings, share_metrics(home.run / "bench-metrics") | dict(more)
            ),
            client=client,
        )


def _show_end(*servers: Server) -> None:
    for server in servers:
        print(server.printed()[-4_000:], file=sys.stderr)


def _up(settings: Settings, home: Home, more: Mapping[str, str]) -> Part:
    async def ready() -> bool:
        return home.env.exists() and await parts.answers(LOOPBACK, settings.port)

    return Part(
        name="up",
        argv=(sys.executable, "-m", "deploy.cli", "up"),
        environ=parts.child_environ(settings, more),
        ready=ready,
        stop_signal=signal.SIGINT,
        stop_s=90.0,
        orphan_signal=signal.SIGTERM,
    )
