"""Settles what attempts came to: outcomes gather for a few milliseconds and go down together.

The log, the states, the dead letters and the rollups of a batch are one transaction. While Postgres
is away a batch waits and is tried again; what is in flight is bounded, so sending stops by itself.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import asyncpg

from dispatcher.config import DispatcherConfig
from dispatcher.lane import Owed
from dispatcher.metrics import Metrics
from schema import ids
from schema.delivery import State
from schema.errors import Unavailable
from schema.store import settle as store
from schema.store.link import Pool
from schema.store.pool import REFUSALS, reachable

_log = logging.getLogger(__name__)
_PAUSE_S = 0.5  # between tries while Postgres is away
_NEWEST = 0.3  # how much the newest batch counts for the pace
_SHORTEST_S = 0.001


class Settled(NamedTuple):
    """A delivery with where it stands from now on."""

    owed: Owed
    settlement: store.Settlement


class Settler:
    """Gathers settlements and writes them."""

    def __init__(
        self,
        *,
        pool: Pool,
        clock: Callable[[], datetime],
        config: DispatcherConfig,
        metrics: Metrics,
        epochs: Callable[[], Mapping[int, int]],
        on_settled: Callable[[Sequence[Settled], Sequence[Settled]], None],
        told: Callable[[], Collection[str]],
        traces: Callable[[], bool],
        mails: Callable[[], bool],
    ) -> None:
        """Wait for settlements.

        Args:
            pool: Where they are written.
            clock: The time of parking.
            config: Limits.
            metrics: What is counted.
            epochs: The shards that are held now.
            on_settled: Told of each batch once it is written, and which of it was refused.
            told: The kinds of operational events that anybody wants.
            traces: Whether any environment may have its attempts exported.
            mails: Whether any environment may have its apps told by mail.
        """
        self._pool = pool
        self._clock = clock
        self._config = config
        self._metrics = metrics
        self._epochs = epochs
        self._on_settled = on_settled
        self._told = told
        self._traces = traces
        self._mails = mails
        self._waiting: list[Settled] = []
        self._wrote_at = 0.0
        self.per_s = 0.0  # settlements, of late
        self._some = asyncio.Event()
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """How many settlements are not written yet, apart from the batch that is being written."""
        return len(self._waiting)

    def add(self, settled: Settled) -> None:
        """Have a settlement written soon."""
        self._waiting.append(settled)
        self._some.set()
        self._idle.clear()
        if settled.owed.lane.ordered or len(self._waiting) >= self._config.settle_batch:
            self._hurry.set()  # the next of the order waits for it; or nothing more fits

    async def drained(self) -> None:
        """Wait until everything is written."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write batches, for ever."""
        while True:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.settle_gather_s):
                    await self._hurry.wait()
            batch = self._waiting[: self._config.settle_batch]
            del self._waiting[: len(batch)]
            if not self._waiting:
                self._some.clear()
            if len(self._waiting) < self._config.settle_batch:
                self._hurry.clear()
            await self._write(batch)
            self._note_pace(len(batch))
            if not self._waiting:
                self._idle.set()

    def _note_pace(self, number: int) -> None:
        now = asyncio.get_running_loop().time()
        self.per_s += (number / max(now - self._wrote_at, _SHORTEST_S) - self.per_s) * _NEWEST
        self._wrote_at = now

    async def _write(self, batch: list[Settled]) -> None:
        """Write a batch, however long Postgres takes.

        What Postgres refuses is looked for by halves and written without what the receiver said.
        """
        settlements = [settled.settlement for settled in batch]
        while True:
            try:
                async with reachable():
                    moved = await self._settle(settlements)
                break
            except REFUSALS:
                _log.exception("Postgres refuses a batch of %d", len(batch))
                if len(batch) > 1:
                    await self._write(batch[: len(batch) // 2])
                    await self._write(batch[len(batch) // 2 :])
                    return
                settlements = [_bare(settlements[0])]
                await asyncio.sleep(_PAUSE_S)
            except (Unavailable, asyncpg.PostgresError) as error:
                _log.warning("settling waits: %r", error.__cause__ or error)
                await asyncio.sleep(_PAUSE_S)
        refused = _refused(batch, settlements, moved)
        self._metrics.settled(settlements, refused=len(refused))
        self._on_settled(batch, refused)

    async def _settle(self, settlements: Sequence[store.Settlement]) -> list[store.Settlement]:
        now = self._clock()
        dead = sum(s.state is State.DEAD for s in settlements)
        async with self._pool.acquire() as link:
            return await store.settle(
                link,
                self._config.name,
                self._epochs(),
                settlements,
                now=now,
                letter_ids=[ids.new_id(ids.DEAD_LETTER, now) for _ in range(dead)],
                told=self._told(),
                traces=self._traces(),
                mail_pause_s=self._config.mail_pause_s if self._mails() else None,
            )


def _refused(
    batch: Sequence[Settled],
    written: Sequence[store.Settlement],
    moved: Sequence[store.Settlement],
) -> list[Settled]:
    """Give those of a batch whose deliveries were not moved by what was written of them."""
    if len(moved) == len(batch):
        return []
    kept = {id(settlement) for settlement in moved}
    return [one for one, its in zip(batch, written, strict=True) if id(its) not in kept]


def _bare(settlement: store.Settlement) -> store.Settlement:
    """Leave out of an attempt what came from outside."""
    attempt = settlement.attempt
    if attempt is None:
        return settlement
    outcome = attempt.outcome._replace(body=b"", headers=(), detail="not storable", truncated=True)
    return settlement._replace(attempt=attempt._replace(outcome=outcome))
