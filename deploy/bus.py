"""NATS's client, as every part of us holds it: it comes back, and who stops waiting does no harm.

The client waits with `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that
comes together with what it waits for. A task that goes on for ever then does not end, and a group
of tasks waits for it for ever: it cancels each of its tasks once.

The client waits for ever too until all that it wrote to a connection is sent, before it makes
another or ends; and gives up for good when the server says why it ends a connection.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

_REQUEST_S: Final = 0.5
_FLUSH_S: Final = 10.0
_CLOSE_S: Final = 2.0  # what the server has not taken within that, it does not take
_NOT_PERMITTED: Final = "permissions violation"  # of one subject; the connection stands


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

        The client's own cancels what it waits for when it is given up, and the answer that comes
        later raises in the task that reads: nothing is read any more until pings are missed.

        Raises:
            nats.errors.Error: The server does not answer in time.
        """
        if self.is_closed:
            raise nats.errors.ConnectionClosedError
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self.is_connected:
            with _heeding():
                self._write_pending()
                await self._send_ping(answered)
        await asyncio.wait((answered,), timeout=timeout)
        if not answered.done():
            raise nats.errors.FlushTimeoutError

    async def close(self) -> None:
        """End, within some seconds also where the server takes nothing any more."""
        ending = asyncio.get_running_loop().call_later(_CLOSE_S, self._abort)
        try:
            await super().close()
        finally:
            ending.cancel()

    async def _attempt_reconnect(self) -> None:
        """Leave the connection that is no good, whatever it did not take, and make another."""
        self._abort()
        await super()._attempt_reconnect()

    async def _process_err(self, err_msg: str) -> None:
        """Make another connection when the server ends this one and says why."""
        if _NOT_PERMITTED in err_msg.lower():
            await super()._process_err(err_msg)
            return
        error = nats.errors.Error(f"nats: {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)

    def _write_pending(self) -> None:
        """Write what waits to be written, so that what is written next is behind it."""
        if self._transport is not None:
            self._transport.writelines(self._pending)
            self._pending = []
            self._pending_data_size = 0

    def _abort(self) -> None:
        """Drop the connection with all that was not sent."""
        writer = getattr(self._transport, "_io_writer", None)  # none has it that is a WebSocket
        if writer is not None:
            writer.transport.abort()


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
