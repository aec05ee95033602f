"""The command `hookline` as a person runs it: in this process, or on a terminal of its own."""

import asyncio
import fcntl
import logging
import os
import pty
import sys
import termios
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from deploy.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it printed as JSON."""
        return orjson.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Runs commands in a thread of this process, so that what they call may be served here."""

    capsys: pytest.CaptureFixture[str]

    async def run(self, *arguments: str) -> Said:
        """Run one command to its end."""
        self.capsys.readouterr()
        code = await asyncio.to_thread(main, arguments)
        printed = self.capsys.readouterr()
        return Said(code=code, out=printed.out, err=printed.err)


@contextmanager
def untouched_logging() -> Iterator[None]:
    """Give the root logger back as it was: a command sets it up for its process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


class Terminal:
    """A command that believes that a person sits there."""

    def __init__(self, process: asyncio.subprocess.Process, descriptor: int) -> None:
        self._process, self._descriptor = process, descriptor
        self.shown = ""

    async def until(self, text: str) -> None:
        """Read until it shows a text."""
        async with asyncio.timeout(20):
            while text not in self.shown:
                self.shown += await asyncio.to_thread(self._read)

    def type(self, text: str) -> None:
        """Press keys; `\\x03` is Ctrl-C."""
        os.write(self._descriptor, text.encode())

    async def ended(self) -> int:
        """Wait for its end; give its exit code."""
        async with asyncio.timeout(20):
            code = await self._process.wait()
            while more := await asyncio.to_thread(self._read):
                self.shown += more
        return code

    def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    def _read(self) -> str:
        try:
            return os.read(self._descriptor, 65_536).decode(errors="replace")
        except OSError:  # as Linux says that nobody has the other end any more
            return ""


@asynccontextmanager
async def on_terminal(
    *arguments: str, environ: Mapping[str, str], columns: int = 100
) -> AsyncIterator[Terminal]:
    """Run a command on a terminal of so many columns."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", *arguments,
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=_take_terminal,
        env={**os.environ, **environ, "TERM": "xterm", "COLUMNS": str(columns), "NO_COLOR": "1"},
    )  # fmt: skip
    os.close(theirs)
    terminal = Terminal(process, ours)
    try:
        yield terminal
    finally:
        with suppress(ProcessLookupError):
            terminal.kill()
        await process.wait()
        os.close(ours)


def _take_terminal() -> None:
    """Have keys such as Ctrl-C reach us."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
