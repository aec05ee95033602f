"""What is asked of code, what comes of it, and how far it may go. Durations are seconds."""

from dataclasses import dataclass
from typing import Final

MOST_FAULT_CHARS: Final = 500  # of the text about an error


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far code may go.

    Attributes:
        time_s: CPU time of one call.
        memory_bytes: Of the JavaScript heap of one call.
        result_bytes: Largest payload that goes in or comes out.
        workers: Processes for code that is quick, and as many for code that is not.
        waiting: Calls of an owner that may wait in a queue; 0 is any number.
    """

    time_s: float = 0.1
    memory_bytes: int = 32 * 1_048_576
    result_bytes: int = 1_048_576
    workers: int = 1
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One run of somebody's code.

    Attributes:
        owner: Whose turn it takes; the others' do not wait for it.
        code: JavaScript that defines `handler`.
        webhook: What `handler` is given but for the payload, as a JSON object.
        payload: What it is given as `payload`: JSON, or else a text. None only looks whether the
            code can be read and defines `handler`.
    """

    owner: str
    code: str
    webhook: bytes = b"{}"
    payload: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What `handler` gave back, as it stands there: nothing of it is judged yet.

    Attributes:
        method: None if it said none, as with `url` and `headers`.
        cancel: Nothing is to be sent.
    """

    method: str | None = None
    url: str | None = None
    headers: dict[str, str] | None = None
    payload: bytes = b""
    cancel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The code did not do: one line of text for whoever wrote it.

    Attributes:
        line: In the code, from 1, if the error has a place.
    """

    text: str
    line: int | None = None

    def __str__(self) -> str:
        return self.text if self.line is None else f"{self.text} (line {self.line})"


Answer = Made | Broken


class Crowded(Exception):
    """As many calls of the owner wait as may."""


class SandboxFault(Exception):
    """The processes that run code cannot be started: it speaks of this machine, not of the code."""
