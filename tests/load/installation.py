"""What is measured: `hookline up` in a temporary home, and a receiver, as processes of their own.

Their CPU and memory are read from /proc, each with all processes that it started.
"""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

import httpx

from deploy import parts
from deploy.home import Home, read_env
from deploy.ports import LOOPBACK, first_free
from deploy.settings import Settings
from deploy.supervisor import Part
from tests.services import Server

PARTS: Final = ("dispatcher", "gateway", "postgres", "nats")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_API_S: Final = 30.0
_LOOK_S: Final = 0.2  # when the last one came is said by the receiver


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A running Hookline: where it is, and its processes."""

    url: str
    nats_url: str
    key: str
    pids: Mapping[str, int]

    def cpu_s(self) -> dict[str, float]:
        """Give the CPU time that each part has taken so far, in seconds."""
        return {part: _tree_cpu_s(pid) for part, pid in self.pids.items()}

    def peak_bytes(self, part: str) -> int:
        """Give the most memory that a part's process has had."""
        status = Path(f"/proc/{self.pids[part]}/status").read_text()
        kibibytes = next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)
        return int(kibibytes) * 1024

    async def register(self, urls: list[str]) -> str:
        """Make an app with these endpoints; gives its id."""
        headers = {"authorization": f"Bearer {self.key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=_API_S) as client:
            app_id: str = (await _post(client, "/api/v1/app", {"name": "bench"}))["id"]
            for url in urls:
                await _post(client, f"/api/v1/app/{app_id}/endpoint", {"url": url})
        return app_id


@asynccontextmanager
async def installed() -> AsyncIterator[Installation]:
    """Run `hookline up` with the settings that it has by itself, but that loopback is allowed."""
    home = Home.at(Path(tempfile.mkdtemp(prefix="hookline-bench-")))
    settings = Settings(
        home=home.root,
        port=first_free(()),
        allowed_networks=(ip_network("127.0.0.0/8"),),
        log_level="warning",
    )
    log = home.root.with_suffix(".log")
    server = Server(_up(settings, home), log=log)
    try:
        await server.start()
        env = read_env(home)
        yield Installation(
            url=env["HOOKLINE_URL"],
            nats_url=env["NATS_URL"],
            key=home.operator_key.read_text().strip(),
            pids=_pids(server.pid),
        )
    except BaseException:
        print(server.printed(), file=sys.stderr)
        raise
    finally:
        await server.stop()
        shutil.rmtree(home.root, ignore_errors=True)
        log.unlink(missing_ok=True)


class Receiver:
    """The receiver's process."""

    def __init__(self, client: httpx.AsyncClient, port: int) -> None:
        self._client = client
        self.port = port

    def url(self, endpoint: int = 0) -> str:
        """Say where an endpoint of it is."""
        return f"http://{LOOPBACK}:{self.port}/hook/{endpoint}"

    async def ask(self, what: str) -> Any:
        """Ask for `counts`, `latencies` or a `reset`."""
        return (await self._client.get(f"http://{LOOPBACK}:{self.port}/{what}")).json()

    async def wait_for(self, unique: int, *, most_s: float) -> dict[str, int]:
        """Wait until so many different deliveries came; gives the counts."""
        counts: dict[str, int] = {"unique": 0}
        try:
            async with asyncio.timeout(most_s):
                while (counts := await self.ask("counts"))["unique"] < unique:
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            missing = unique - counts["unique"]
            raise SystemExit(f"{missing} deliveries did not come within {most_s:g} s") from None
        return counts


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """Run a receiver."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.load.receiver"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with httpx.AsyncClient(timeout=_API_S) as client:
            yield Receiver(client, int(await process.stdout.readline()))
    finally:
        process.stdin.close()
        await process.wait()


def _up(settings: Settings, home: Home) -> Part:
    async def ready() -> bool:
        return home.env.exists() and await parts.answers(LOOPBACK, settings.port)

    return Part(
        name="up",
        argv=(sys.executable, "-m", "deploy.cli", "up"),
        environ=parts.child_environ(settings, {}),
        ready=ready,
        stop_signal=signal.SIGINT,
        stop_s=90.0,
        orphan_signal=signal.SIGTERM,
    )


async def _post(client: httpx.AsyncClient, path: str, fields: object) -> dict[str, str]:
    response = await client.post(path, json=fields)
    if response.status_code != 201:
        raise SystemExit(f"POST {path}: {response.status_code} {response.text}")
    made: dict[str, str] = response.json()
    return made


def _pids(up_pid: int) -> dict[str, int]:
    """Find the parts among the processes that `up` started."""
    found = dict[str, int]()
    for pid, parent in _parents().items():
        if parent == up_pid:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            words = {Path(command[0]).name.removesuffix("-server"), *command[1:4]}
            found.update({part: pid for part in PARTS if part in words})
    assert found.keys() == set(PARTS), f"only {sorted(found)} run"
    return found


def _parents() -> dict[int, int]:
    """Give every process's parent."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(stat)
        if fields:
            parents[int(stat.parent.name)] = int(fields[1])
    return parents


def _tree_cpu_s(root: int) -> float:
    """Add up what a process and all below it have used, those that have ended included."""
    parents = _parents()
    tree, ticks = {root}, 0
    grown = True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in tree} - tree
        grown = bool(below)
        tree |= below
    for pid in tree:
        fields = _stat(Path(f"/proc/{pid}/stat"))
        ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS_PER_S


def _stat(path: Path) -> list[str]:
    """Read what follows the name in a process's `stat`: state, parent and so on; [] if it ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
