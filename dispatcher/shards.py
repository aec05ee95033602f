"""Which shards this dispatcher owns: leases in Postgres, renewed, shared evenly, handed over.

Durations are seconds. A lease counts here from before its statement was sent, so we never believe
in it longer than Postgres does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import nats.errors

from schema.errors import Unavailable
from schema.event import WAKE_ROOT
from schema.store import shard as store
from schema.store.intake import Stored
from schema.store.link import Pool
from schema.store.pool import reachable

HANDED_OVER: Final = f"{WAKE_ROOT}.shards"  # rung when shards became free
_BEATS: Final = 5  # renewals per lease
_log = logging.getLogger(__name__)


class Rings(Protocol):
    """What is needed of the bus."""

    async def publish(self, subject: str, payload: bytes = b"") -> None:
        """Send a ring."""


class Shards:
    """The leases of one dispatcher."""

    def __init__(
        self,
        *,
        pool: Pool,
        bus: Rings,
        name: str,
        lease_s: float,
        on_gained: Callable[[Sequence[store.Claim]], Awaitable[None]],
        on_kept: Callable[[Mapping[int, Stored], float], None],
        on_lost: Callable[[Sequence[int]], Awaitable[None]],
        retire: Callable[[Sequence[int]], Awaitable[None]],
        quiet: Callable[[int], bool],
    ) -> None:
        """Own nothing yet.

        Args:
            pool: Where the leases are.
            bus: What rings.
            name: Who holds them.
            lease_s: How long a lease lasts unless renewed.
            on_gained: Told of shards that are ours from now on.
            on_kept: Told where the intake of shards that stay ours stands in Postgres, and since
                when (loop's clock) it may have gone on.
            on_lost: Told of shards that are not ours any more, without notice.
            retire: Asked to begin nothing more for shards that are about to be given back.
            quiet: Asked whether all that was begun for a shard is settled.
        """
        self._pool = pool
        self._bus = bus
        self._name = name
        self._lease_s = lease_s
        self._on_gained = on_gained
        self._on_kept = on_kept
        self._on_lost = on_lost
        self._retire = retire
        self._quiet = quiet
        self._epochs: dict[int, int] = {}
        self._retiring: set[int] = set()
        self._sure_until = 0.0
        self._nudged = asyncio.Event()

    @property
    def epochs(self) -> dict[int, int]:
        """The epoch of each shard that is held."""
        return self._epochs

    @property
    def sure_until(self) -> float:
        """Until when (loop's clock) the leases hold for certain; nothing may be sent after it."""
        return self._sure_until

    def nudge(self) -> None:
        """Look for free shards now."""
        self._nudged.set()

    async def run(self) -> None:
        """Renew, share and claim, for ever."""
        while True:
            try:
                async with reachable():
                    await self._beat()
            except Unavailable as error:
                _log.warning("leases wait: %s", error.__cause__)
            await self._lose_what_ran_out()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_s / _BEATS):
                    await self._nudged.wait()
            self._nudged.clear()

    async def leave(self) -> None:
        """Give everything back, at once: all that was begun is settled, or refused later."""
        await self._give_back(sorted(self._epochs))
        async with reachable(), self._pool.acquire() as link:
            await store.leave(link, self._name)
        await self._ring()

    async def _beat(self) -> None:
        asked_at = asyncio.get_running_loop().time()
        async with self._pool.acquire() as link:
            alive = await store.announce(link, self._name, self._lease_s)
            kept = await store.renew(link, self._name, self._epochs, self._lease_s)
            total = await store.count(link)
        self._sure_until = asked_at + self._lease_s
        self._on_kept(kept, asked_at)
        lost = sorted(self._epochs.keys() - kept.keys())
        if lost:
            await self._lose(lost)
        await self._balance(_share(total, alive, self._name))

    async def _balance(self, share: int) -> None:
        keeping = sorted(self._epochs.keys() - self._retiring)
        if len(keeping) > share:
            self._retiring.update(keeping[share:])
            await self._retire(keeping[share:])
        elif len(keeping) < share:
            await self._claim(share - len(keeping))
        done = [shard for shard in self._retiring if self._quiet(shard)]
        if done:
            await self._give_back(done)
            await self._ring()

    async def _claim(self, most: int) -> None:
        asked_at = asyncio.get_running_loop().time()
        async with self._pool.acquire() as link:
            claims = await store.claim(
                link, self._name, most=most, lease_s=self._lease_s, held=self._epochs
            )
        if not claims:
            return
        self._sure_until = min(self._sure_until, asked_at + self._lease_s)
        self._epochs.update({claim.shard: claim.epoch for claim in claims})
        _log.info("owns %d shards", len(self._epochs))
        try:
            await self._on_gained(claims)
        except BaseException:
            await self._lose([claim.shard for claim in claims])  # claimed anew at the next beat
            raise

    async def _give_back(self, shards: Sequence[int]) -> None:
        epochs = {shard: self._epochs.pop(shard) for shard in shards}
        self._retiring.difference_update(shards)
        if epochs:
            async with reachable(), self._pool.acquire() as link:
                await store.release(link, self._name, epochs)

    async def _ring(self) -> None:
        with suppress(nats.errors.Error):  # they look for themselves with their next beat
            await self._bus.publish(HANDED_OVER)

    async def _lose_what_ran_out(self) -> None:
        if self._epochs and asyncio.get_running_loop().time() > self._sure_until:
            await self._lose(sorted(self._epochs))

    async def _lose(self, shards: Sequence[int]) -> None:
        _log.warning("lost the leases of %d shards", len(shards))
        for shard in shards:
            del self._epochs[shard]
        self._retiring.difference_update(shards)
        await self._on_lost(shards)


def _share(total: int, alive: Sequence[str], name: str) -> int:
    """Say how many shards are ours: even, the first in order taking one more."""
    even, rest = divmod(total, len(alive))
    return even + (sorted(alive).index(name) < rest)
