"""Processes that the bench starts beside the installation: receivers and load generators.

They take commands and answer by lines of JSON. The kernel ends them when we are gone.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from deploy.ports import LOOPBACK
from deploy.supervisor import Part, popen_options
from tests.load.machine import tree_cpu_s
from tests.load.payload import Kind, path
from tests.load.waiting import LoadFault, until

_ASK_S: Final = 60.0
_LINE_BYTES: Final = 16 * 1024 * 1024
_FIELDS: Final = 4


class Arrival(NamedTuple):
    """A request that came; times by the monotonic clock."""

    arrival_ns: int
    intended_ns: int
    number: int
    endpoint: int

    @property
    def latency_ms(self) -> float:
        """Tell how long after its intended time it came."""
        return (self.arrival_ns - self.intended_ns) / 1e6


class Worker:
    """One process that answers commands."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._turn = asyncio.Lock()

    @classmethod
    async def start(cls, module: str, *arguments: str, authority: Path | None = None) -> Self:
        """Start `python -m module`; with an authority it trusts that instead of the system's."""
        more = {} if authority is None else {"SSL_CERT_FILE": str(authority)}
        part = Part(
            name=module,
            argv=(sys.executable, "-m", module, *arguments),
            environ=os.environ | more,
            orphan_signal=signal.SIGKILL,
        )
        options = popen_options(part)
        process = await asyncio.create_subprocess_exec(
            *part.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            limit=_LINE_BYTES,
            # uvloop takes no others, and no other account is meant
            **{name: options[name] for name in ("env", "start_new_session", "preexec_fn")},
        )
        return cls(process, module)

    def cpu_s(self) -> float:
        """Give the CPU time that it has taken so far."""
        return tree_cpu_s(self._process.pid)

    async def ask(self, do: str, *, most_s: float = _ASK_S, **how: object) -> Any:
        """Have something done; waits for the answer.

        Raises:
            LoadFault: It could not be done, or not in time.
        """
        async with self._turn:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps({"do": do, **how}).encode() + b"\n")
            try:
                async with asyncio.timeout(most_s):
                    told = await self.told()
            except TimeoutError:
                raise LoadFault(f"{self._name}: {do} took more than {most_s:g} s") from None
        if isinstance(told, dict) and "fault" in told:
            raise LoadFault(f"{self._name}: {do}: {told['fault']}")
        return told

    async def told(self) -> Any:
        """Read the next thing that it says."""
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise LoadFault(f"{self._name} ended")
        return json.loads(line)

    async def stop(self) -> None:
        """End it; it has nothing to put in order."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Receiver(Worker):
    """The process that receives."""

    port = 0
    scheme = "http"

    def url(self, kind: Kind = Kind.KEEP, endpoint: int = 0) -> str:
        """Say where an endpoint of it is."""
        return f"{self.scheme}://{LOOPBACK}:{self.port}{path(kind, endpoint)}"

    async def wait_for(
        self, unique: int, *, most_s: float, check: Callable[[], None] = lambda: None
    ) -> int:
        """Wait until so many different deliveries came; gives the time of the last request.

        Args:
            unique: Deliveries.
            most_s: How long.
            check: Raises when nothing more is to be waited for.
        """
        last_ns = 0

        async def all_came() -> bool:
            nonlocal last_ns
            check()
            counts = await self.ask("counts")
            last_ns = counts["last_ns"]
            # Counting different ones costs more, so it is asked for only when it may be enough.
            enough = counts["received"] >= unique
            return enough and bool((await self.ask("unique"))["unique"] >= unique)

        await until(all_came, f"{unique} deliveries", most_s=most_s)
        return last_ns

    async def arrivals(self, directory: Path) -> list[Arrival]:
        """Give everything that came since the last reset, in order."""
        file = directory / f"arrivals-{self.port}"
        await self.ask("dump", file=str(file))
        data = file.read_bytes()
        file.unlink()
        numbers = array("q", data)
        return [
            Arrival(*numbers[place : place + _FIELDS]) for place in range(0, len(numbers), _FIELDS)
        ]


@asynccontextmanager
async def receiving(certificate: Path | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver; with a certificate it speaks TLS."""
    arguments = () if certificate is None else (str(certificate),)
    receiver = await Receiver.start("tests.load.receiver", *arguments)
    try:
        receiver.port = (await receiver.told())["port"]
        receiver.scheme = "http" if certificate is None else "https"
        yield receiver
    finally:
        await receiver.stop()


@asynccontextmanager
async def generating(authority: Path | None = None) -> AsyncIterator[Worker]:
    """Run a load generator."""
    worker = await Worker.start("tests.load.generator", authority=authority)
    try:
        yield worker
    finally:
        await worker.stop()
