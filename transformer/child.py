"""A transformer: the process that runs code. Reads calls, writes answers, and ends with its owner.

`python -I -S -c BOOT <folders> <limits>`, as `transformer.process` starts it: an empty environment,
two pipes, and nothing else. A call that the engine does not end by itself ends the process: the
timer counts CPU time, and its signal is left to kill.
"""

import json
import os
import signal
import sys
from time import process_time
from typing import Final

from transformer import wire
from transformer.call import Answer, Broken, Limits
from transformer.engine import run
from transformer.walls import raise_walls

SLOW_PART: Final = 0.2  # of the time that a call may take; then the rest of a batch is given back
GRACE_S: Final = 0.05  # beyond twice the time of a call, for what the engine does not interrupt
_IN: Final = 0
_OUT: Final = 1


def main() -> None:
    """Serve until the owner closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the owner's to hear, who then ends us
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    limits = Limits(**json.loads(sys.argv[-1]))
    fenced = raise_walls(memory_bytes=limits.memory_bytes, result_bytes=limits.result_bytes)
    _write(wire.frame({wire.READY: True, "fenced": fenced}))
    while True:
        try:
            (number,) = wire.COUNT.unpack(_read(wire.COUNT.size))
            _serve(number, limits)
        except EOFError:
            return


def _serve(number: int, limits: Limits) -> None:
    """Answer a batch; once a call took long, the rest is given back as it came."""
    is_slow = False
    for _ in range(number):
        about, payload = wire.read_frame(_read)
        if is_slow:
            _write(wire.frame({wire.UNBEGUN: True}))
            continue
        begun_s = process_time()
        signal.setitimer(signal.ITIMER_PROF, 2 * limits.time_s + GRACE_S)
        answer = run(about["code"], about["webhook"], payload if about["runs"] else None, limits)
        signal.setitimer(signal.ITIMER_PROF, 0)
        took_s = process_time() - begun_s
        is_slow = took_s > limits.time_s * SLOW_PART
        _write(_framed(answer, took_s))


def _framed(answer: Answer, took_s: float) -> bytes:
    if isinstance(answer, Broken):
        told = {wire.BROKEN: answer.text, "line": answer.line, "took_s": took_s}
        return wire.frame(told)
    return wire.frame(
        {
            "method": answer.method,
            "url": answer.url,
            "headers": answer.headers,
            "cancel": answer.cancel,
            "took_s": took_s,
        },
        answer.payload,
    )


def _read(size: int) -> bytes:
    """Read exactly so many bytes.

    Raises:
        EOFError: The owner is gone.
    """
    parts = bytearray()
    while len(parts) < size:
        some = os.read(_IN, min(size - len(parts), 1 << 20))
        if not some:
            raise EOFError
        parts += some
    return bytes(parts)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(_OUT, rest) :]
        except BrokenPipeError:
            raise EOFError from None
