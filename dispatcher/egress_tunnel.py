"""Opens a connection to a judged address through the egress proxy.

The proxy is given the address, never the name: what was judged is what is reached, and a proxy
needs no DNS. For the endpoint nothing changes: TLS is spoken with it, not with the proxy, in its
own name. Whatever the proxy says is read within bounds, and its own words are shown to nobody.
"""

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import Final, cast

from dispatcher.egress import Proxy, ProxyKind
from dispatcher.fault import DeliveryFault, FaultKind

MAX_HEAD_BYTES: Final = 16 * 1024  # of the answer to a CONNECT
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])[ \r]")
_OPENED: Final = range(200, 300)
_NEEDS_PASSWORD: Final = 407

_VERSION: Final = 5
_NO_PASSWORD: Final = 0
_PASSWORD: Final = 2
_CONNECT: Final = 1
_IPV4: Final = 1
_NAME: Final = 3
_IPV6: Final = 4
_ADDRESS_BYTES: Final = {_IPV4: 4, _IPV6: 16}
_REPLIES: Final[dict[int, tuple[FaultKind, str]]] = {
    2: ("connect", "the egress proxy does not allow the address"),
    3: ("connect", "the egress proxy found no way to the address"),
    4: ("connect", "the egress proxy found no way to the address"),
    5: ("connect_refused", "nobody listens on the port, says the egress proxy"),
    6: ("connect", "the egress proxy found no way to the address"),
}


class ProxyFault(DeliveryFault):
    """The proxy itself failed: no other address of the endpoint would fare better."""

    def __init__(self, detail: str) -> None:
        """Say what failed, in our own words."""
        super().__init__("proxy", f"the egress proxy {detail}")


async def open_tunnel(
    proxy: Proxy, address: str, port: int, make: Callable[[], asyncio.Protocol]
) -> None:
    """Connect to `address` through the proxy, and hand the connection to the protocol made.

    Raises:
        ProxyFault: The proxy cannot be reached, does not let us in, or talks nonsense.
        DeliveryFault: The proxy could not reach the address.
    """
    loop = asyncio.get_running_loop()
    try:
        _, line = await loop.create_connection(_Line, proxy.host, proxy.port)
    except OSError:
        raise ProxyFault("cannot be reached") from None
    try:
        if proxy.kind is ProxyKind.SOCKS5:
            await _ask_socks5(line, proxy, address, port)
        else:
            await _ask_connect(line, proxy, address, port)
        line.hand_over(make())
    except BaseException:
        line.abort()
        raise


class _Line(asyncio.Protocol):
    """The connection to the proxy until the tunnel stands."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._is_lost = False
        self._more: asyncio.Future[None] | None = None

    async def take(self, number: int) -> bytes:
        """Wait for exactly so many bytes."""
        while len(self._received) < number:
            await self._wait()
        taken = bytes(self._received[:number])
        del self._received[:number]
        return taken

    async def take_head(self) -> bytes:
        """Wait for the end of a head."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > MAX_HEAD_BYTES:
                raise ProxyFault("gave an answer that is too large")
            await self._wait()
        return await self.take(end + 4)

    def send(self, data: bytes) -> None:
        self._transport.write(data)

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        if self._is_lost or self._transport.is_closing():
            raise ProxyFault("closed the connection")
        if self._received:
            raise ProxyFault("spoke out of turn")
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)

    def abort(self) -> None:
        self._transport.abort()

    async def _wait(self) -> None:
        if self._is_lost:
            raise ProxyFault("closed the connection")
        self._more = asyncio.get_running_loop().create_future()
        await self._more

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    # The event loop calls what follows.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > 2 * MAX_HEAD_BYTES:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, _: Exception | None) -> None:
        self._is_lost = True
        self._wake()


async def _ask_connect(line: _Line, proxy: Proxy, address: str, port: int) -> None:
    target = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    asked = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.user:
        known_as = b64encode(f"{proxy.user}:{proxy.password}".encode()).decode("ascii")
        asked += f"Proxy-Authorization: Basic {known_as}\r\n"
    line.send(f"{asked}\r\n".encode("ascii"))
    status = _STATUS.match(await line.take_head())
    if status is None:
        raise ProxyFault("does not speak HTTP")
    code = int(status[1])
    if code == _NEEDS_PASSWORD:
        raise ProxyFault("did not accept our user and password (407)")
    if code not in _OPENED:
        raise DeliveryFault("connect", f"the egress proxy did not open a connection ({code})")


async def _ask_socks5(line: _Line, proxy: Proxy, address: str, port: int) -> None:
    method = _PASSWORD if proxy.user else _NO_PASSWORD
    line.send(bytes((_VERSION, 1, method)))
    version, chosen = await line.take(2)
    if version != _VERSION:
        raise ProxyFault("does not speak SOCKS 5")
    if chosen != method:
        raise ProxyFault("wants another way to log in")
    if method == _PASSWORD:
        user, password = proxy.user.encode(), proxy.password.encode()
        line.send(bytes((1, len(user), *user, len(password), *password)))
        if (await line.take(2))[1] != 0:
            raise ProxyFault("did not accept our user and password")
    ip = ip_address(address)
    kind = _IPV6 if isinstance(ip, IPv6Address) else _IPV4
    line.send(bytes((_VERSION, _CONNECT, 0, kind)) + ip.packed + port.to_bytes(2, "big"))
    await _hear_socks5(line)


async def _hear_socks5(line: _Line) -> None:
    version, reply, _, kind = await line.take(4)
    if version != _VERSION:
        raise ProxyFault("does not speak SOCKS 5")
    if reply:
        fault = _REPLIES.get(reply, ("connect", f"the egress proxy failed (SOCKS reply {reply})"))
        raise DeliveryFault(*fault)
    if kind == _NAME:
        length = (await line.take(1))[0]
    elif kind in _ADDRESS_BYTES:
        length = _ADDRESS_BYTES[kind]
    else:
        raise ProxyFault("does not speak SOCKS 5")
    await line.take(length + 2)  # where it dials from, and the port: of no use to us
