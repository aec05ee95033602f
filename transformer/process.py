"""One transformer as its owner has it: started with nothing, fed a batch, killed if it hangs."""

import asyncio
import importlib.util
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from transformer import wire
from transformer.call import Call, Limits, SandboxFault

START_S: Final = 30.0  # until a new process is ready; a machine may be busy
PATIENCE: Final = 50  # times the time of a call, by the clock: it counts CPU time by itself
LEAST_PATIENCE_S: Final = 5.0
_BOOT: Final = (
    "import sys; sys.path[:0] = sys.argv[1:-1]; from transformer.child import main; main()"
)
_ROOT: Final = str(Path(__file__).resolve().parent.parent)
# What reading a frame raises that no honest process writes.
_NONSENSE: Final = (ValueError, TypeError, RecursionError)
_LEAVE_S: Final = 1.0  # from hanging up to the end
_OVERTIME: Final = frozenset({-signal.SIGPROF, -signal.SIGXCPU})
_log = logging.getLogger(__name__)


class Died(Exception):
    """The process ended, or was ended, before it had answered all.

    Attributes:
        overtime: It was for taking too long.
    """

    def __init__(self, *, overtime: bool, how: str) -> None:
        """Say how it ended."""
        super().__init__(how)
        self.overtime = overtime


class Transformer:
    """A process that runs code for whoever made it. `start` makes one."""

    def __init__(self, process: Process, limits: Limits) -> None:
        """Take a process that has just been started, with pipes."""
        if process.stdin is None or process.stdout is None:
            raise ValueError("a transformer needs pipes")
        self._process = process
        self._to, self._from = process.stdin, process.stdout
        self._limits = limits
        self._patience_s = max(limits.time_s * PATIENCE, LEAST_PATIENCE_S)

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Tell whether the process is no more. Asks the system, as the loop hears of it later."""
        if self._process.returncode is not None:
            return True
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # somebody waited for it already
            return True
        return ended is not None

    async def answers(self, batch: Sequence[Call]) -> AsyncIterator[tuple[dict[str, Any], bytes]]:
        """Hand over a batch and give the answers in order, each when it comes.

        Raises:
            Died: There are no more.
        """
        with suppress(ConnectionError):  # what ended it is said where the answer is missed
            self._to.write(wire.COUNT.pack(len(batch)) + b"".join(map(_asked, batch)))
        for _ in batch:
            yield await self._answer(self._patience_s)

    async def close(self) -> None:
        """End the process, whatever it does."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._to.close()
        await self._process.wait()

    async def _left(self) -> None:
        """Let a process that hung up end by itself: to kill it may lose what ended it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE_S):
                await self._process.wait()

    async def ready(self) -> None:
        """Wait until it is.

        Raises:
            SandboxFault: It does not come to that.
        """
        try:
            about, _ = await self._answer(START_S)
        except Died as death:
            msg = f"a transformer does not start: {death}"
            raise SandboxFault(msg) from None
        if not about.get("fenced"):
            _log.warning("transformers run without a fence of system calls on this machine")

    async def _answer(self, patience_s: float) -> tuple[dict[str, Any], bytes]:
        try:
            async with asyncio.timeout(patience_s):
                return await self._frame()
        except TimeoutError:
            await self.close()
            raise Died(overtime=True, how="no answer in time") from None
        except (asyncio.IncompleteReadError, ConnectionError, *_NONSENSE) as error:
            if not isinstance(error, _NONSENSE):
                await self._left()
            await self.close()
            code = self._process.returncode
            raise Died(overtime=code in _OVERTIME, how=_ending(code)) from None

    async def _frame(self) -> tuple[dict[str, Any], bytes]:
        """Read a frame, no larger than an honest one.

        Raises:
            ValueError: It is none.
        """
        head, body = wire.SIZES.unpack(await self._from.readexactly(wire.SIZES.size))
        if head > wire.MOST_ABOUT_BYTES or body > self._limits.result_bytes:
            raise ValueError("a frame that is too large")
        about = json.loads(await self._from.readexactly(head))
        return dict(about), await self._from.readexactly(body)


async def start(limits: Limits) -> Transformer:
    """Start a transformer and wait until it is ready.

    Raises:
        SandboxFault: It does not start.
    """
    spec = importlib.util.find_spec("_quickjs")
    if spec is None or spec.origin is None:
        raise SandboxFault("the JavaScript engine is not installed: pip install quickjs-ng")
    folders = (_ROOT, str(Path(spec.origin).parent))
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-B", "-c", _BOOT, *folders, json.dumps(asdict(limits))),
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env={},
            cwd="/",
        )
    except OSError as error:
        msg = f"a transformer does not start: {error}"
        raise SandboxFault(msg) from error
    transformer = Transformer(process, limits)
    try:
        await transformer.ready()
    except BaseException:
        await transformer.close()
        raise
    return transformer


def _asked(call: Call) -> bytes:
    runs = call.payload is not None
    about = {"code": call.code, "webhook": call.webhook.decode(), "runs": runs}
    return wire.frame(about, call.payload or b"")


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return f"it ended with {code}"
    return f"it was ended by {signal.Signals(-code).name}"
