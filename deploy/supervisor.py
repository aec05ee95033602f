"""Child processes: started, shown, watched, started again, stopped in order.

A part that dies is started again after a pause, and the others live through it. Children are
sessions of their own, so a Ctrl-C in the terminal reaches only us; if we are killed outright the
kernel tells them (PR_SET_PDEATHSIG). Durations are seconds.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from deploy.account import Account
from deploy.faults import StartFault
from deploy.home import last_line, open_log

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 10.0
CALM_S: Final = 30.0  # a part that lived this long starts again with the first pause
READY_S: Final = 60.0
_LOOK_S: Final = 0.05
_LAST_LINES_S: Final = 1.0  # grandchildren may hold the pipe open
_LINE_BYTES: Final = 64 * 1024
_FATAL_MARKS: Final = ("FATAL", "PANIC", "[FTL]", "[ERR]", "could not")
_PR_SET_PDEATHSIG: Final = 1
_PRCTL: Final = ctypes.CDLL(None).prctl if sys.platform == "linux" else None


async def _at_once() -> bool:
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One child: what runs, as whom, how it says that it is ready, how it is stopped."""

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    account: Account | None = None
    log: Path | None = None  # unset: its lines are shown with its name in front
    ready: Callable[[], Awaitable[bool]] = _at_once
    stop_signal: signal.Signals = signal.SIGTERM
    stop_s: float = 30.0  # after it: SIGKILL
    orphan_signal: signal.Signals = signal.SIGKILL  # what the kernel sends when we are gone


def popen_options(part: Part) -> dict[str, Any]:
    """Give what `subprocess` must be told so that a part runs as itself and never outlives us."""
    account = part.account
    return {
        "env": dict(part.environ),
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,
        "preexec_fn": _tie_to_us(part.orphan_signal),
        "user": account and account.uid,
        "group": account and account.gid,
        "extra_groups": [] if account else None,
    }


def _tie_to_us(orphan_signal: signal.Signals) -> Callable[[], None] | None:
    """Make what a child does before it runs: ask for a signal on our death."""
    parent = os.getpid()
    if _PRCTL is None:
        return None

    def tie() -> None:
        _PRCTL(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:  # we died before the call
            os._exit(1)

    return tie


class Child:
    """One part and its process. Does nothing about its end until it was ready once."""

    def __init__(
        self,
        part: Part,
        *,
        show: Callable[[str], None],
        ended: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """Nothing runs yet.

        Args:
            part: What to run.
            show: Prints a line.
            ended: Is told the id of each process that ended.
        """
        self.part = part
        self._show = show
        self._ended = ended
        self._process: asyncio.subprocess.Process | None = None
        self._started_at = 0.0
        self._log_start = 0
        self._ready = False
        self._stopping = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process, or None while there is none."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the process; it may not be ready yet.

        Raises:
            StartFault: The program cannot be run at all.
        """
        log = open_log(self.part.log) if self.part.log else None
        self._log_start = os.fstat(log).st_size if log else 0
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.part.argv,
                stdout=asyncio.subprocess.PIPE if log is None else log,
                stderr=asyncio.subprocess.STDOUT,
                **popen_options(self.part),
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise StartFault(f"cannot run {self.part.argv[0]}: {error}") from error
        finally:
            if log is not None:
                os.close(log)
        self._started_at = asyncio.get_running_loop().time()

    async def until_ready(self) -> None:
        """Wait until the part says that it is ready.

        Raises:
            StartFault: It ended before, or took too long.
        """
        if self._ready:
            return
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    is_ready = await self.part.ready()
                    if self.pid is None:  # then it is another one that answers in its place
                        raise StartFault(f"{self.part.name} {self._how_ended()} at its start")
                    if is_ready:
                        break
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            raise StartFault(f"{self.part.name} did not answer within {READY_S:g} s") from None
        self._ready = True

    async def watch(self) -> None:
        """Show its lines, and start it again whenever it ends, until it is to stop."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._until_ended()
            if self._stopping.is_set() or not self._ready:
                return
            if asyncio.get_running_loop().time() - self._started_at > CALM_S:
                pause_s = FIRST_PAUSE_S
            self._show(f"{self.part.name} {self._how_ended()}; starting it again in {pause_s:g} s")
            if await self._told_to_stop_within(pause_s):
                return
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            try:
                await self.start()
            except StartFault as fault:
                self._show(str(fault))

    def let_end(self) -> None:
        """Leave it be when it ends, from now on."""
        self._stopping.set()

    async def stop(self) -> None:
        """Ask the process to end, wait for it, kill what does not listen."""
        self.let_end()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(self.part.stop_signal)
        try:
            async with asyncio.timeout(self.part.stop_s):
                await process.wait()
        except TimeoutError:
            self._show(f"{self.part.name} did not stop within {self.part.stop_s:g} s; killed")
            self.kill()
            await process.wait()

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _told_to_stop_within(self, pause_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._stopping.wait()
        return self._stopping.is_set()

    async def _until_ended(self) -> None:
        process = self._process
        if process is None:
            return
        async with asyncio.TaskGroup() as group:
            lines = group.create_task(self._show_lines(process.stdout))
            await process.wait()
            await asyncio.wait((lines,), timeout=_LAST_LINES_S)
            lines.cancel()
        self._ended(process.pid)

    async def _show_lines(self, stream: asyncio.StreamReader | None) -> None:
        """Pass the lines on. One longer than the limit is shown in pieces."""
        rest = b""
        while stream is not None and (data := await stream.read(_LINE_BYTES)):
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > _LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in lines:
                self._show_line(line)
        if rest:
            self._show_line(rest)

    def _show_line(self, line: bytes) -> None:
        self._show(f"[{self.part.name}] {line.decode(errors='replace')}")

    def _how_ended(self) -> str:
        code = self._process.returncode if self._process else None
        if code is None:
            return "did not run"
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended (exit {code})"
        if self.part.log is None or code < 0:
            return how
        word = last_line(self.part.log, marks=_FATAL_MARKS, start=self._log_start)
        return f"{how}: {word}" if word else how


class Supervisor:
    """Runs parts in stages, and stops them in the reverse order of their stages.

    Use it as a context: on leaving, for whatever reason, everything is stopped.
    """

    def __init__(
        self, *, show: Callable[[str], None], ended: Callable[[int], None] = lambda _pid: None
    ) -> None:
        """Nothing runs yet.

        Args:
            show: Prints a line.
            ended: Is told the id of each process that ended.
        """
        self._show = show
        self._ended = ended
        self._stages: list[list[Child]] = []
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        for child in self._children():
            child.let_end()
        for stage in reversed(self._stages):
            async with asyncio.TaskGroup() as group:
                for child in stage:
                    group.create_task(child.stop())
        await self._group.__aexit__(None, None, None)

    async def start(self, *parts: Part) -> None:
        """Start a stage; what is started later is stopped earlier.

        Raises:
            StartFault: A program cannot be run at all.
        """
        stage: list[Child] = []
        self._stages.append(stage)
        for part in parts:
            child = Child(part, show=self._show, ended=self._ended)
            await child.start()
            stage.append(child)
            self._group.create_task(child.watch())

    async def until_ready(self) -> None:
        """Wait until everything that was started is ready.

        Raises:
            StartFault: One ended before, or took too long.
        """
        for child in self._children():
            await child.until_ready()

    def kill(self) -> None:
        """End everything at once; for who will not wait."""
        for child in self._children():
            child.let_end()
            child.kill()

    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]
