"""A subscription that hands over messages as bytes, in the call that read them from the socket.

nats-py makes an object of each message, queues it, and wakes a task for it: more than all that the
intake then does with an event. Only the intake has so many messages that this counts.
"""

import logging
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from nats.aio.client import Client
from nats.aio.msg import Msg

_VERSION: Final = "NATS/1.0"
STATUS: Final = "Status"
# Subject, reply subject, headers as they were sent (empty: none), body.
Receiver: TypeAlias = Callable[[bytes, bytes, bytes, bytes], None]
_log = logging.getLogger(__name__)


async def subscribe_raw(bus: Client, subject: str, receive: Receiver) -> None:
    """Have `receive` called with every message on a subject; it must not wait."""
    subscription = await bus.subscribe(
        subject,
        cb=_never,
        pending_msgs_limit=0,  # bounded by what is asked for
        pending_bytes_limit=0,
    )
    ours = subscription._id  # noqa: SLF001
    process: Callable[..., Any] = bus._process_msg  # noqa: SLF001

    async def process_ours(
        sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        if sid != ours:
            await process(sid, subject, reply, data, headers)
            return
        try:
            receive(subject, reply, headers or b"", data)
        except Exception:  # noqa: BLE001 as the client does: one must not end the reading of all
            _log.exception("a message on %r could not be read", subject)

    bus._process_msg = process_ours  # type: ignore[method-assign]  # noqa: SLF001


def read_any_subject(bus: Client) -> None:
    """Have a client read subjects that are not UTF-8: nats-py stops reading for good at one."""
    build: Callable[..., Any] = bus._build_message  # noqa: SLF001

    def build_any(sid: int, subject: bytes, *rest: object) -> object:
        return build(sid, subject.decode("utf-8", "replace").encode(), *rest)

    bus._build_message = build_any  # type: ignore[assignment]  # noqa: SLF001


def read_headers(raw: bytes) -> dict[str, str]:
    """Read a header block; what stands behind the version is given as the header `Status`.

    Bytes that are not UTF-8 are replaced; lines without a name are left out.
    """
    first, *lines = raw.decode("utf-8", "replace").split("\r\n")
    headers = dict[str, str]()
    for line in lines:
        name, colon, value = line.partition(":")
        if colon and len(name.split()) == 1 and name.isascii():
            headers[name.strip()] = value.strip()
    status = first.removeprefix(_VERSION).split(maxsplit=1)
    if status:
        headers[STATUS] = status[0]
    return headers


async def _never(_: Msg) -> None:
    """Stand where the client wants a callback."""
