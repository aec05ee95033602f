"""Small real proxies on the loopback, for tests: one that is asked by CONNECT, one by SOCKS 5.

    async with TunnelProxy(ProxyKind.SOCKS5, user="u", password="p") as proxy:
        ...  # something connects through proxy.proxy
        assert proxy.asked == [("127.0.0.1", 8080)]

They pass on what either side does, closing and resetting included. They resolve nothing: a name
is refused, and seen by the test in `asked`.
"""

import asyncio
from base64 import b64decode
from contextlib import suppress
from ipaddress import ip_address

from dispatcher.egress import Proxy, ProxyKind
from tests.listener import HOST, Listener
from tests.receiver import reset_stream


class Refused(Exception):
    """The proxy does not open a tunnel; it answered so already."""


class TunnelProxy(Listener):
    """Listens on a free port of the loopback and opens tunnels."""

    def __init__(
        self,
        kind: ProxyKind,
        *,
        user: str = "",
        password: str = "",
        says: bytes | None = None,
        replies: int = 0,
        hangs: bool = False,
    ) -> None:
        """Want `user` and `password`, if given.

        `says` is sent in place of any answer, to whatever it was asked; `replies` is the status or
        the SOCKS reply to every request; `hangs` never answers one.
        """
        super().__init__()
        self.kind = kind
        self.asked: list[tuple[str, int]] = []
        self.heads: list[bytes] = []  # of CONNECT requests
        self._user = user
        self._password = password
        self._says = says
        self._replies = replies
        self._hangs = hangs

    @property
    def proxy(self) -> Proxy:
        """What a dispatcher is told of it."""
        return Proxy(
            kind=self.kind,
            host=HOST,
            port=self.port,
            user=self._user,
            password=self._password,
        )

    async def _serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        try:
            upstream = await self._open(reader, stream)
            await relay((reader, stream), upstream)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            stream.transport.abort()
        except Refused:
            with suppress(ConnectionError):
                await stream.drain()
                stream.close()
                await stream.wait_closed()

    async def _open(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._says is not None:
            await reader.read(1)
            writer.write(self._says)
            raise Refused
        if self.kind is ProxyKind.SOCKS5:
            return await self._open_socks5(reader, writer)
        return await self._open_connect(reader, writer)

    async def _open_connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        request, *lines = head.decode("ascii").split("\r\n")
        method, target, _ = request.split(" ")
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 CONNECT only\r\nContent-Length: 0\r\n\r\n")
            raise Refused
        basic = [line.split(" ")[2] for line in lines if line.startswith("Proxy-Authorization: ")]
        if self._user and [b64decode(one) for one in basic] != [
            f"{self._user}:{self._password}".encode()
        ]:
            writer.write(b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\n\r\n")
            raise Refused
        host, _, port = target.rpartition(":")
        try:
            upstream = await self._dial(host.strip("[]"), int(port))
        except OSError:
            writer.write(b"HTTP/1.1 %d No\r\nContent-Length: 3\r\n\r\nno!" % (self._replies or 502))
            raise Refused from None
        writer.write(b"HTTP/1.1 200 Established\r\nVia: 1.1 test\r\n\r\n")
        return upstream

    async def _open_socks5(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        _, number = await reader.readexactly(2)
        method = 2 if self._user else 0
        if method not in await reader.readexactly(number):
            writer.write(b"\x05\xff")
            raise Refused
        writer.write(bytes((5, method)))
        if method:
            await self._log_in(reader, writer)
        _, _, _, kind = await reader.readexactly(4)
        if kind == 3:
            host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
        else:
            host = str(ip_address(await reader.readexactly({1: 4, 4: 16}[kind])))
        port = int.from_bytes(await reader.readexactly(2), "big")
        try:
            upstream = await self._dial(host, port)
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError)
            writer.write(bytes((5, self._replies or (5 if refused else 4), 0, 1)) + bytes(6))
            raise Refused from None
        writer.write(bytes((5, 0, 0, 1)) + bytes(6))
        return upstream

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        user = await reader.readexactly((await reader.readexactly(1))[0])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        right = (user.decode(), password.decode()) == (self._user, self._password)
        writer.write(bytes((1, 0 if right else 1)))
        if not right:
            raise Refused

    async def _dial(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.asked.append((host, port))
        if self._hangs:
            await asyncio.Event().wait()
        if self._replies:
            raise OSError("scripted")
        try:
            ip_address(host)
        except ValueError:
            raise OSError("this proxy resolves nothing") from None
        return await asyncio.open_connection(host, port)


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def relay(one: Streams, other: Streams) -> None:
    """Pass on what comes from either side, until both are done or one is broken."""
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pump(one[0], other[1]))
            group.create_task(_pump(other[0], one[1]))
    except* ConnectionError:
        reset_stream(one[1])
        reset_stream(other[1])
    finally:
        one[1].transport.abort()
        other[1].transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof() and not writer.is_closing():
        writer.write_eof()
