"""Turns an endpoint's URL into addresses that may be dialled, or refuses it.

A name is resolved root-anchored, so that no search domain is ever tried, and every address of the
answer is judged: one refused address refuses the attempt. Answers are kept for seconds only and
then asked for and judged again, so a name that changes its mind is caught at the next attempt;
until then the transport dials what was judged, never the name. Durations are seconds.
"""

import asyncio
import socket
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
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
APP_THREADS = RESOLVER_THREADS // 4  # that one app may hold: its slow names wait for each other
_NO_SUCH_NAME = (socket.EAI_NONAME, socket.EAI_NODATA)


class Resolve(Protocol):
    """Asks DNS for every A and AAAA of a root-anchored name ("example.com.")."""

    async def __call__(self, name: str, app_id: str) -> Sequence[str]:
        """Return the addresses, none if the name has none; `app_id` is who it is asked for.

        Raises:
            OSError: DNS did not answer, or said that there is no such name.
        """
        ...


def system_look_up(name: str) -> Sequence[str]:
    """Ask the operating system; blocks. The order is its preference (RFC 6724)."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


class SystemResolver:
    """The operating system's resolver, on threads that apps share evenly.

    A look-up cannot be called off, so what counts against an app is the thread, until it is free
    again, whether or not anybody still waits for its answer. Belongs to one event loop.
    """

    def __init__(self, look_up: Callable[[str], Sequence[str]] = system_look_up) -> None:
        """Ask by `look_up`, which may block."""
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolve")
        self._loop = asyncio.get_running_loop()
        self._held: Counter[str] = Counter()  # threads by app
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    async def __call__(self, name: str, app_id: str) -> Sequence[str]:
        """Return the addresses, once the app and the threads have room."""
        await self._turn(app_id)
        asked = self._threads.submit(self._look_up, name)
        asked.add_done_callback(lambda _: self._free_soon(app_id))
        return await asyncio.wrap_future(asked)

    def close(self) -> None:
        """Let the threads go; lookups under way are not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _turn(self, app_id: str) -> None:
        """Wait until the app may hold one thread more; it does from then on."""
        turn = self._loop.create_future()
        self._waiting.setdefault(app_id, deque()).append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._free(app_id)
            raise

    def _grant(self) -> None:
        """Give what threads there are to the apps that wait, one each in turn."""
        while any(self._grant_one(app_id) for app_id in list(self._waiting)):
            pass

    def _grant_one(self, app_id: str) -> bool:
        turns = self._waiting[app_id]
        while turns and turns[0].done():  # nobody waits for it any more
            turns.popleft()
        if not turns:
            del self._waiting[app_id]
            return False
        if self._held[app_id] >= APP_THREADS or self._held.total() >= RESOLVER_THREADS:
            return False
        turns.popleft().set_result(None)
        self._held[app_id] += 1
        self._waiting.move_to_end(app_id)
        return True

    def _free_soon(self, app_id: str) -> None:
        """Called in whichever thread; the loop may be over."""
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._free, app_id)

    def _free(self, app_id: str) -> None:
        self._held[app_id] -= 1
        if not self._held[app_id]:
            del self._held[app_id]
        self._grant()


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
        # By app too: a name that is in line behind others of its app makes no other app wait.
        self._asking: dict[tuple[str, str], asyncio.Future[_Answer | None]] = {}

    def cached(self, url: EndpointUrl) -> tuple[str, ...] | None:
        """Return what `addresses` would, if that is known without waiting."""
        answer = self._known.get(url.host)
        if answer is None or answer.until <= self._clock():
            return None
        return answer.addresses or None

    async def addresses(self, url: EndpointUrl, app_id: str) -> tuple[str, ...]:
        """Return one to eight addresses that this URL may be sent to, best first.

        Args:
            url: An endpoint's.
            app_id: Whose endpoint it is; the threads that ask are shared by apps.

        Raises:
            Blocked: An address of the host is not allowed.
            DeliveryFault: Kind "dns": the name could not be resolved.
        """
        while True:
            answer = self._known.get(url.host)
            if answer is not None and answer.until > self._clock():
                return answer.unwrap()
            asking = self._asking.get((app_id, url.host))
            if asking is None:
                return (await self._ask(url, app_id)).unwrap()
            await asyncio.wait((asking,))  # does not cancel it if we are cancelled
            shared = asking.result()
            if shared is not None:  # else whoever asked was cancelled, and we take over
                return shared.unwrap()

    def permits(self, address: str) -> bool:
        """Say whether a peer may be talked to; the transport asks about whom it reached."""
        return allowed(ip_address(address), self._policy)

    async def _ask(self, url: EndpointUrl, app_id: str) -> _Answer:
        """Find out about a host once for all of an app who wait for it."""
        key = app_id, url.host
        asking = self._asking[key] = asyncio.get_running_loop().create_future()
        answer = None
        try:
            answer = await self._find_out(url, app_id)
            self._keep(url.host, answer)
        finally:
            del self._asking[key]
            asking.set_result(answer)
        return answer

    async def _find_out(self, url: EndpointUrl, app_id: str) -> _Answer:
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await self._look_up(url, app_id)
        except (OSError, UnicodeError) as error:  # a TimeoutError is an OSError
            return self._answer(failed=_explain(error))
        if not found:
            return self._answer(failed="the name has no address")
        for ip in map(ip_address, found):
            if not allowed(ip, self._policy):
                return self._answer(blocked=classify(ip))
        return self._answer(addresses=tuple(dict.fromkeys(found))[:MAX_ADDRESSES])

    async def _look_up(self, url: EndpointUrl, app_id: str) -> Sequence[str]:
        if url.is_literal:
            return (url.host,)
        if is_localhost(url.host):
            return loopback_addresses(self._policy)
        return await self._resolve(f"{url.host}.", app_id)

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


def _explain(error: Exception) -> str:
    if isinstance(error, TimeoutError) or (
        isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
    ):
        return "the name server did not answer"
    if isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_NAME:
        return "there is no such name"
    return "the name could not be resolved"
