"""A server on the loopback that a test opens and shuts, and with it every connection to it."""

import asyncio
import ssl
from typing import Self

HOST = "127.0.0.1"


class Listener:
    """Listens on a free port; what it does with a connection is its heir's."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """With `tls` it speaks TLS; `port` 0 is any free one, kept when it is opened again."""
        self.port = port
        self.connections = 0  # opened so far
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(
            self._accept, HOST, self.port, ssl=self._tls, backlog=1024
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop listening and drop every connection."""
        self._server.close()
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._serve(reader, stream)
        finally:
            self._tasks.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        """Speak with who has connected, until either ends it."""
        raise NotImplementedError
