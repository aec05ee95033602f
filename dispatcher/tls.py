"""How endpoints are verified and as whom we go to them, where that is not as usual; and contexts.

A context is made once for each pair of authorities and identity of an app, by a thread, and kept.
Two apps share neither contexts nor connections. Where there are authorities a context is small;
else it holds all those that the system trusts, and is not.
"""

import asyncio
import hashlib
import ssl
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from dispatcher.fault import DeliveryFault
from signer.tls import client_context

KEPT_BYTES: Final = 64 * 1_048_576  # of contexts, by what they take as it was measured
LARGE_BYTES: Final = 1_048_576  # one with the system's authorities
SMALL_BYTES: Final = 65_536  # one with others
THREADS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """What is particular about the TLS of an endpoint; at least one of the two is there.

    Attributes:
        key: The same for the same of the same app; never empty.
    """

    app_id: str
    key: str
    authorities: str | None
    identity: bytes | None = field(repr=False)


def particular(app_id: str, authorities: str | None, identity: bytes | None) -> Tls:
    """Say what is particular about an endpoint of an app."""
    digest = hashlib.sha256()
    for part in (app_id.encode(), (authorities or "").encode(), identity or b""):
        digest.update(b"%d:%b" % (len(part), part))
    return Tls(app_id=app_id, key=digest.hexdigest(), authorities=authorities, identity=identity)


class Contexts:
    """Contexts by what is particular. Belongs to one event loop."""

    def __init__(self, *, kept_bytes: int = KEPT_BYTES) -> None:
        """Keep so much of them; those that were used last stay."""
        self._kept_bytes = kept_bytes
        self._kept: OrderedDict[str, tuple[ssl.SSLContext, int]] = OrderedDict()
        self._bytes = 0
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="tls")
        self._turns: dict[str, asyncio.Lock] = {}

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, tls: Tls, until: float) -> ssl.SSLContext:
        """Give the context; it is made if need be, one of an app at a time.

        Raises:
            DeliveryFault: It cannot be made, or not until then, in the loop's time.
        """
        kept = self._kept.get(tls.key)
        if kept is not None:
            self._kept.move_to_end(tls.key)
            return kept[0]
        try:
            async with asyncio.timeout_at(until), self._turn(tls.app_id):
                if tls.key in self._kept:  # while we waited
                    return self._kept[tls.key][0]
                return await self._make(tls)
        except TimeoutError:
            raise DeliveryFault("timeout", "the certificates were not ready in time") from None
        except ssl.SSLError:
            raise DeliveryFault("tls", "the endpoint's certificates cannot be used") from None

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _make(self, tls: Tls) -> ssl.SSLContext:
        context = await asyncio.get_running_loop().run_in_executor(
            self._threads, client_context, tls.authorities, tls.identity
        )
        size = LARGE_BYTES if tls.authorities is None else SMALL_BYTES
        _, former = self._kept.pop(tls.key, (None, 0))  # whoever made that was not waited for
        self._bytes -= former
        self._kept[tls.key] = context, size
        self._bytes += size
        while self._bytes > self._kept_bytes:
            _, (_, dropped) = self._kept.popitem(last=False)
            self._bytes -= dropped
        return context

    @asynccontextmanager
    async def _turn(self, app_id: str) -> AsyncIterator[None]:
        """Wait for the app's turn: one that has many makes nobody else wait for long."""
        turn = self._turns.setdefault(app_id, asyncio.Lock())
        try:
            async with turn:
                yield
        finally:
            if not turn.locked():
                self._turns.pop(app_id, None)
