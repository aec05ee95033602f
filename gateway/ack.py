"""What the stream answers to a publication, and what it means to whoever published."""

from dataclasses import dataclass
from typing import Final

import orjson
from nats.aio.msg import Msg

from schema.errors import HooklineError, Overload, Unavailable

PART: Final = "NATS"
_FULL_RETRY_S: Final = 5.0
_THROTTLED: Final = 429
_SHORT_OF: Final = 503


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """Where an event lies on the stream; `duplicate` if it was there under its id already."""

    sequence: int
    duplicate: bool = False


class Uncertain(Unavailable):
    """NATS did not answer; the event may have been accepted."""

    def __init__(self) -> None:
        """Say what to do."""
        super().__init__(PART)
        again = "publish it again with the same eventId"
        self.args = (f"{PART} did not answer, the event may have been accepted: {again}",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why the stream did not take it, in the server's words."""

    status: int
    detail: str


def has_status(message: Msg) -> bool:
    """Tell whether the server speaks of the request itself: nobody listens."""
    return message.headers is not None and "Status" in message.headers


def read(message: Msg) -> Ack | Refusal:
    """Read an answer of the stream."""
    said = orjson.loads(message.data)
    fault = said.get("error")
    if fault is not None:
        return Refusal(status=fault.get("code", 0), detail=fault.get("description", ""))
    return Ack(sequence=said["seq"], duplicate=said.get("duplicate", False))


def error_of(refusal: Refusal) -> HooklineError:
    """Give the error that a refusal is to the caller."""
    if refusal.status in {_THROTTLED, _SHORT_OF}:
        return Overload(f"the stream takes no more: {refusal.detail}", _FULL_RETRY_S)
    return Unavailable(PART)
