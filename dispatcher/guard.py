"""Turns an endpoint's URL into addresses that may be dialled, or refuses it.

A name is resolved root-anchored, so that no search domain is ever tried, and every address of the
answer is judged: one refused address refuses the attempt. Answers are kept for seconds only and
then asked for and judged again, so a name that changes its mind is caught at the next attempt;
until then the transport dials what was judged, never the name. Durations are seconds.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Protocol

from dispatcher.fault import Blocked, DeliveryFault
from schema.address import (
    AddressPolicy,
    EndpointUrl,
    allowed,
    classify,
    is_localhost,
    loopback_addresses,
)

MAX_ADDRESSES = 8  # of one name that an attempt may try; all are judged
MAX_NAMES = 10_000  # kept answers; the oldest go first
FAULT_CACHE_S = 2.0  # a broken name is asked for no more often than this
RESOLVE_TIMEOUT_S = 5.0
RESOLVER_THREADS = 16  # getaddrinfo blocks; a thread is held for as long as the resolver waits
_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)


class Resolve(Protocol):
    """Asks DNS for every A and AAAA of a root-anchored name ("example.com.")."""

    async def __call__(self, name: str) -> Sequence[str]:
        """Return the addresses, none if the name has none.

        Raises:
            OSError: DNS did not answer, or said that there is no such name.
        """
        ...


class SystemResolver:
    """The operating system's resolver, on threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")

    async def __call__(self, name: str) -> Sequence[str]:
        """Return the addresses in the system's order of preference (RFC 6724)."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _getaddrinfo, name)

    def close(self) -> None:
        """Let the threads go; lookups under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What was found out about a host, and until when it counts. One of the three is set."""

    until: float
    addresses: tuple[str, ...] = ()
    blocked: str | None = None  # the class of a refused address
    failed: str | None = None  # why there is no address

    def unwrap(self) -> tuple[str, ...]:
        if self.blocked is not None:
            raise Blocked(self.blocked)
        if self.failed is not None:
            raise DeliveryFault("dns", self.failed)
        return self.addresses


class Guard:
    """Decides which addresses an attempt may dial. Belongs to one event loop."""

    def __init__(
        self,
        policy: AddressPolicy,
        resolve: Resolve,
        cache_s: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Judge by `policy`; `clock` only ages the kept answers."""
        self._policy = policy
        self._resolve = resolve
        self._cache_s = cache_s
        self._clock = clock
        self._known: dict[str, _Answer] = {}
        self._asking: dict[str, asyncio.Future[_Answer | None]] = {}

    def cached(self, url: EndpointUrl) -> tuple[str, ...] | None:
        """Return what `addresses` would, if that is known without waiting."""
        answer = self._known.get(url.host)
        if answer is None or answer.until <= self._clock():
            return None
        return answer.addresses or None

    async def addresses(self, url: EndpointUrl) -> tuple[str, ...]:
        """Return one to eight addresses that this URL may be sent to, best first.

        Raises:
            Blocked: An address of the host is not allowed.
            DeliveryFault: Kind "dns": the name could not be resolved.
        """
        while True:
            answer = self._known.get(url.host)
            if answer is not None and answer.until > self._clock():
                return answer.unwrap()
            asking = self._asking.get(url.host)
            if asking is None:
                return (await self._ask(url)).unwrap()
            await asyncio.wait((asking,))  # does not cancel it if we are cancelled
            shared = asking.result()
            if shared is not None:  # else whoever asked was cancelled, and we take over
                return shared.unwrap()

    def permits(self, address: str) -> bool:
        """Say whether a peer may be talked to; the transport asks about whom it reached."""
        return allowed(ip_address(address), self._policy)

    async def _ask(self, url: EndpointUrl) -> _Answer:
        """Find out about a host once for all who wait for it."""
        asking = self._asking[url.host] = asyncio.get_running_loop().create_future()
        answer = None
        try:
            answer = await self._find_out(url)
            self._keep(url.host, answer)
        finally:
            del self._asking[url.host]
            asking.set_result(answer)
        return answer

    async def _find_out(self, url: EndpointUrl) -> _Answer:
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await self._look_up(url)
        except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError
            return self._answer(failed=_explain(error))
        if not found:
            return self._answer(failed="the name has no address")
        for ip in map(ip_address, found):
            if not allowed(ip, self._policy):
                return self._answer(blocked=classify(ip))
        return self._answer(addresses=tuple(dict.fromkeys(found))[:MAX_ADDRESSES])

    async def _look_up(self, url: EndpointUrl) -> Sequence[str]:
        if url.is_literal:
            return (url.host,)
        if is_localhost(url.host):
            return loopback_addresses(self._policy)
        return await self._resolve(f"{url.host}.")

    def _answer(
        self,
        *,
        addresses: tuple[str, ...] = (),
        blocked: str | None = None,
        failed: str | None = None,
    ) -> _Answer:
        kept_s = self._cache_s if addresses else min(FAULT_CACHE_S, self._cache_s)
        until = self._clock() + kept_s
        return _Answer(until=until, addresses=addresses, blocked=blocked, failed=failed)

    def _keep(self, host: str, answer: _Answer) -> None:
        self._known.pop(host, None)
        while len(self._known) >= MAX_NAMES:
            del self._known[next(iter(self._known))]
        self._known[host] = answer


def _getaddrinfo(name: str) -> list[str]:
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


def _explain(error: Exception) -> str:
    if isinstance(error, TimeoutError) or (
        isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
    ):
        return "the name server did not answer"
    if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
        return "there is no such name"
    return "the name could not be resolved"
