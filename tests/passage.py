"""A way to a server that can fall silent: it passes nothing on any more, and closes nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tests.listener import Listener

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Passage(Listener):
    """Passes on what it gets to a server, and back."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        """Open a connection to the server, by `connect`, for each that is opened to it."""
        super().__init__()
        self._connect = connect
        self._passing: set[asyncio.Task[None]] = set()

    def hang(self) -> None:
        """Pass nothing more on of the connections that there are, nor close them."""
        for task in self._passing:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        up_reader, up_stream = await self._connect()
        passing = {
            asyncio.create_task(_pass(reader, up_stream)),
            asyncio.create_task(_pass(up_reader, stream)),
        }
        self._passing |= passing
        try:
            await asyncio.wait(passing, return_when="FIRST_COMPLETED")
            if any(task.cancelled() for task in passing):
                await asyncio.Event().wait()
        finally:
            self._passing -= passing
            for task in passing:
                task.cancel()
            stream.transport.abort()
            up_stream.transport.abort()


async def _pass(reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        stream.write(data)
        await stream.drain()
