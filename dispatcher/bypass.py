"""Reads the events of an app past those of others that crowd its shard.

A shard's events are taken in the order of the stream. Where one app has thousands in front of
another's, a second consumer that leaves the crowd out brings the other's. Which apps there are the
stream says; who crowds, a sample of what waits. Durations are seconds.
"""

import asyncio
import json
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol

import nats.errors

from dispatcher.crowd import crowding, passing
from dispatcher.source import CROWDED, Source
from schema.errors import HooklineError
from schema.event import SHARD_ROOT

LOOK_S: Final = 1.0  # how often apps are looked for that were not there before
SHARE: Final = 20  # looking takes at most one in so many seconds
THROUGH: Final = CROWDED // 8  # events that wait for a shard that is not crowded any more
_PACE_S: Final = 0.05  # between rounds
_log = logging.getLogger(__name__)


class StreamFault(HooklineError):
    """The stream's API said no."""


class Counts(Protocol):
    """What is told of bypasses, as gauges."""

    def __call__(self, *, crowded: int, left_out: int) -> None:
        """Take how many shards are crowded, and how many apps had no room in a filter."""


class Bypasses:
    """The bypasses of the shards that we own.

    Attributes:
        by_shard: Those there are.
    """

    def __init__(
        self,
        *,
        sources: Mapping[int, Source],
        subjects: Callable[[str], Awaitable[Mapping[str, Any]]],
        begin: Callable[[Source], Awaitable[None]],
        end: Callable[[Source], Awaitable[None]],
        counts: Counts,
    ) -> None:
        """Have none yet.

        Args:
            sources: Of the shards that we own.
            subjects: Gives the stream's subjects that fit a filter.
            begin: Makes the consumer of a source.
            end: Ends it.
            counts: Told after each round.
        """
        self._sources = sources
        self._subjects = subjects
        self._begin = begin
        self._end = end
        self._counts = counts
        self.by_shard: dict[int, Source] = {}
        self._crowds = defaultdict[int, set[str]](set)
        self._look_at: dict[int, float] = {}
        self._left_out: dict[int, int] = {}
        self._crowded = asyncio.Event()

    def notice(self) -> None:
        """Look at the shards that are crowded soon."""
        self._crowded.set()

    def served(self) -> Iterator[Source]:
        """Give those whose shard is crowded still: else its own source is as quick."""
        return (b for b in self.by_shard.values() if b.passes is not None and b.passes.crowded)

    async def tend(self) -> None:
        """End those that are of no more use."""
        for shard, bypass in list(self.by_shard.items()):
            if bypass.broken or not self._counts_still(bypass):
                self.forget(shard)
                await self._end(bypass)

    def _counts_still(self, bypass: Source) -> bool:
        crowded = self._sources.get(bypass.shard)
        return bypass.serves(crowded) and crowded is not None and crowded.waiting > THROUGH

    def forget(self, shard: int) -> None:
        """Take nothing more from a shard's bypass, if it has one, and forget who crowded it."""
        self._crowds.pop(shard, None)
        self._look_at.pop(shard, None)
        self._left_out.pop(shard, None)
        self.by_shard.pop(shard, None)

    async def run(self) -> None:
        """Make bypasses of shards that are crowded, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self.by_shard else None):
                    await self._crowded.wait()
            self._crowded.clear()
            try:
                for source in [s for s in self._sources.values() if s.crowded]:
                    await self._look(source)
            except (TimeoutError, nats.errors.Error, OSError, HooklineError) as error:
                _log.warning("no way past a crowd: %r", error)
            self._counts(crowded=len(self.by_shard), left_out=sum(self._left_out.values()))
            await asyncio.sleep(_PACE_S)

    async def _look(self, source: Source) -> None:
        """See that a crowded shard has a bypass for all that do not crowd it."""
        shard, began = source.shard, asyncio.get_running_loop().time()
        bypass = self.by_shard.get(shard)
        if began < self._look_at.get(shard, 0.0):
            return
        crowd = self._crowds[shard]
        for crowded in (source, bypass):
            if crowded is not None and crowded.crowded:
                crowd |= crowding(event.subject for event in crowded.buffer)
        if crowd:
            names = await self._passing(shard, crowd)
            if bypass is None or list(bypass.names) != names:
                await self._renew(source, names)
        now = asyncio.get_running_loop().time()
        self._look_at[shard] = now + max(LOOK_S, (now - began) * SHARE)

    async def _passing(self, shard: int, crowd: set[str]) -> list[str]:
        subjects = await self._subjects(f"{SHARD_ROOT}.{shard}.>")
        names, self._left_out[shard] = passing(subjects, crowd)
        return names

    async def _renew(self, source: Source, names: list[str]) -> None:
        former = self.by_shard.pop(source.shard, None)
        if former is not None:
            await self._end(former)
        if names and self._sources.get(source.shard) is source:
            made = source.bypass(names)
            await self._begin(made)
            self.by_shard[source.shard] = made
            _log.info("shard %d is crowded: %d apps are read past it", source.shard, len(names))


def subjects_request(subjects: str) -> bytes:
    """Make the body of `$JS.API.STREAM.INFO` that asks for the subjects that fit a filter."""
    return json.dumps({"subjects_filter": subjects}).encode()
