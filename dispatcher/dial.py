"""Opens connections to checked addresses, one address after the other. Durations are seconds."""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from dispatcher.answer import Bounds
from dispatcher.connection import Connection, Origin, broken
from dispatcher.egress import Proxy
from dispatcher.egress_tunnel import ProxyFault, open_tunnel
from dispatcher.fault import Blocked, DeliveryFault, Phases
from dispatcher.tls import Contexts, Tls
from schema.address import EndpointUrl, classify

# Faults of one address that say nothing about the others.
_TRY_NEXT = ("connect", "connect_refused", "reset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialler:
    """Opens connections, and lets none through that reached a peer it must not."""

    permits: Callable[[str], bool]  # asked about the address of every peer
    tls: ssl.SSLContext  # for endpoints about which nothing is particular
    contexts: Contexts  # for the others
    bounds: Bounds
    proxy: Proxy | None = None  # what every connection goes through

    async def open(
        self, url: EndpointUrl, addresses: Sequence[str], until: float, tls: Tls | None = None
    ) -> Connection:
        """Try the addresses in turn; each may take its share of what time is left.

        Raises:
            DeliveryFault: None could be reached, or one that was is not who it should be.
        """
        loop = asyncio.get_running_loop()
        context = self.tls if tls is None else await self.contexts.get(tls, until)
        origin = (url.scheme, url.host, url.port, tls.key if tls is not None else "")
        fault = DeliveryFault("dns", "the name has no address")
        for tried, address in enumerate(addresses):
            now = loop.time()
            share_s = (until - now) / (len(addresses) - tried)
            try:
                async with asyncio.timeout_at(now + share_s):
                    return await self._open_one(origin, address, context)
            except TimeoutError:
                way = " through the egress proxy" if self.proxy else ""
                fault = DeliveryFault("timeout", f"no connection{way} before the deadline")
                fault.address = address
            except DeliveryFault as error:
                if error.kind not in _TRY_NEXT or isinstance(error, ProxyFault):
                    raise
                fault = error
        raise fault

    async def _open_one(self, origin: Origin, address: str, context: ssl.SSLContext) -> Connection:
        scheme, host, port, _ = origin
        connection = Connection(origin=origin, address=address, bounds=self.bounds)
        try:
            await self._connect(connection, port)
            if scheme == "https":
                await connection.secure(context, host)
        except DeliveryFault as fault:
            fault.address = address
            fault.phases = Phases(connect_s=connection.connect_s, tls_s=connection.tls_s)
            connection.abort()
            raise
        except BaseException:
            connection.abort()
            raise
        return connection

    async def _connect(self, connection: Connection, port: int) -> None:
        loop = asyncio.get_running_loop()
        if self.proxy is not None:  # the peer is the proxy; it was handed a judged address
            await open_tunnel(self.proxy, connection.address, port, lambda: connection)
            return
        try:
            await loop.create_connection(lambda: connection, connection.address, port)
        except ConnectionRefusedError:
            raise DeliveryFault("connect_refused", "nobody listens on the port") from None
        except ConnectionResetError:
            raise broken() from None
        except OSError as error:
            reason = os.strerror(error.errno).lower() if error.errno else "unreachable"
            raise DeliveryFault("connect", f"no connection: {reason}") from None
        peer = connection.peer()
        if not self.permits(peer):
            raise Blocked(classify(ip_address(peer)) or "refused")
