"""NATS's client, as every part of us holds it: whoever stops waiting does no harm.

The client waits with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that
comes together with what it waits for. A task that goes on for ever then does not end, and a group
of tasks waits for it for ever: it cancels each of its tasks once.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg

_INFO: Final = "$JS.API.INFO"  # of the account: the cheapest question that JetStream answers
_REQUEST_S: Final = 0.5
_FLUSH_S: Final = 10.0


class Bus(Client):
    """A client to NATS."""

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        timeout: float = _REQUEST_S,  # noqa: ASYNC109 - as the client's
        old_style: bool = False,  # noqa: FBT001, FBT002 - as the client's
        headers: dict[str, Any] | None = None,
    ) -> Msg:
        """Ask, and wait for the answer; as `Client.request`."""
        with _heeding():
            return await super().request(subject, payload, timeout, old_style, headers)

    async def flush(self, timeout: float = _FLUSH_S) -> None:  # noqa: ASYNC109 - as the client's
        """Wait until the server has read all that was sent.

        The client's own sends a ping; if that is given up, by a timeout or a cancellation, its
        answer raises in the task that reads, and nothing is read any more until pings are missed.

        Raises:
            nats.errors.Error: The server does not answer in time, or has no JetStream.
        """
        await self.request(_INFO, timeout=timeout)


@contextmanager
def _heeding() -> Iterator[None]:
    """Raise the cancellation that came meanwhile, if whatever was waited for swallowed it.

    Raises:
        CancelledError: It did.
    """
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
