"""Events as the bytes that go to NATS: many in one write.

nats-py's `publish` looks at every header of every message and wakes its writer for each; that is
most of what publishing costs. So frames are made here and handed to the connection together.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import nats.errors
from nats.aio.client import Client

from schema import event

BATCH_ID: Final = "Nats-Batch-Id"
BATCH_SEQUENCE: Final = "Nats-Batch-Sequence"
BATCH_COMMIT: Final = "Nats-Batch-Commit"
_BATCH_BYTES: Final = 256  # what the batch protocol and the frame add to an event's headers


@dataclass(eq=False, slots=True)
class Outgoing:
    """An event to publish.

    Attributes:
        head: Its headers as they go on the wire, without the end.
        unmistakable: Nobody else could have published under its id.
        doubtful: It was sent before, without an answer: it may be on the stream.
    """

    subject: str
    head: bytes
    body: bytes
    message_id: str | None
    unmistakable: bool
    doubtful: bool = False

    @property
    def app(self) -> str:
        """Say which app it is for: the second part of the subject."""
        return self.subject.split(".", 2)[1]

    @property
    def size_bytes(self) -> int:
        """Say what it takes on the wire, at most."""
        return len(self.head) + len(self.body) + _BATCH_BYTES


def outgoing(subject: str, headers: Mapping[str, str], body: bytes) -> Outgoing:
    """Make an event ready. Neither subject nor headers may hold line breaks: nobody looks again."""
    head = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    message_id = headers.get(event.MESSAGE_ID)
    dedupe_id = headers.get(event.DEDUPE_ID)
    return Outgoing(
        subject=subject,
        head=f"NATS/1.0\r\n{head}".encode(),
        body=body,
        message_id=message_id,
        unmistakable=dedupe_id is None or dedupe_id == message_id,
    )


def single(item: Outgoing, reply: str) -> list[bytes]:
    """Write one event that asks for an answer."""
    return _frame(item, reply, b"\r\n")


def batch(items: Iterable[Outgoing], batch_id: str, *, first: str, last: str) -> list[bytes]:
    """Write the members of an atomic batch; the first and the last ask for an answer."""
    pieces: list[bytes] = []
    members = list(items)
    intro = f"{BATCH_ID}: {batch_id}\r\n{BATCH_SEQUENCE}: "
    pieces += _frame(members[0], first, f"{intro}1\r\n\r\n".encode())
    for place, item in enumerate(members[1:-1], 2):
        pieces += _frame(item, "", f"{intro}{place}\r\n\r\n".encode())
    end = f"{intro}{len(members)}\r\n{BATCH_COMMIT}: 1\r\n\r\n"
    pieces += _frame(members[-1], last, end.encode())
    return pieces


async def send(bus: Client, pieces: list[bytes]) -> None:
    """Hand bytes to the connection, as its own `publish` does after writing a frame.

    Raises:
        nats.errors.ConnectionClosedError: It is closed for good.
    """
    if bus.is_closed or bus.is_draining_pubs:
        raise nats.errors.ConnectionClosedError
    # The one step that nats-py has no public name for; its version is locked.
    await bus._send_command(b"".join(pieces))  # noqa: SLF001
    await bus._flush_pending()  # noqa: SLF001


def _frame(item: Outgoing, reply: str, tail: bytes) -> list[bytes]:
    head_bytes = len(item.head) + len(tail)
    total_bytes = head_bytes + len(item.body)
    start = f"HPUB {item.subject} {reply} {head_bytes} {total_bytes}\r\n"
    return [start.encode(), item.head, tail, item.body, b"\r\n"]
