"""Reads the events of an app past those of others that crowd its shard.

A shard's events are taken in the order of the stream. Where one app has thousands in front of
another's, a second consumer that leaves the crowd out brings the other's. Which apps there are the
stream says; who crowds, a sample of what waits. Durations are seconds.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import nats.errors

from dispatcher.crowd import crowding, passing
from dispatcher.source import FEW, Source
from schema.errors import HooklineError
from schema.event import SHARD_ROOT

LOOK_S: Final = 1.0  # how often apps are looked for that were not there before
SHARE: Final = 20  # looking takes at most one in so many seconds
ENOUGH: Final = 64  # events of a sample that tell who crowds a shard; of a few, one is many
_PACE_S: Final = 0.01  # between rounds
_log = logging.getLogger(__name__)


class StreamFault(HooklineError):
    """The stream's API said no."""


class Counts(Protocol):
    """What is told of bypasses, as gauges."""

    def __call__(self, *, crowded: int, left_out: int) -> None:
        """Take how many shards are crowded, and how many apps had no room in a filter."""


@dataclass(slots=True)
class _Crowd:
    """What is known of a shard as long as too much waits for it.

    Attributes:
        names: The apps that crowd it.
        look_at: Loop's time of the next look at what waits and which apps there are.
        left_out: How many apps had no room in the filter.
    """

    names: set[str] = field(default_factory=set)
    look_at: float = 0.0
    left_out: int = 0


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
        self._crowds: dict[int, _Crowd] = {}
        self._crowded = asyncio.Event()

    def notice(self) -> None:
        """Look at the shards that are crowded soon."""
        self._crowded.set()

    def served(self) -> Iterator[Source]:
        """Give those whose shard is not through: then its own source is as quick."""
        bypasses = self.by_shard.values()
        return (b for b in bypasses if b.passes is not None and not _is_through(b.passes))

    async def tend(self) -> None:
        """End those that are of no more use, and forget who crowded shards that are through."""
        for shard in list(self._crowds):
            source, bypass = self._sources.get(shard), self.by_shard.get(shard)
            through = source is None or _is_through(source)
            if through or (bypass is not None and (bypass.broken or not bypass.serves(source))):
                self.forget(shard)
                if bypass is not None:
                    await self._end(bypass)

    def forget(self, shard: int) -> None:
        """Take nothing more from a shard's bypass, if it has one, and forget who crowded it."""
        self._crowds.pop(shard, None)
        self.by_shard.pop(shard, None)
        self.notice()  # it may be crowded all the same, and nothing more of it come for a while

    async def run(self) -> None:
        """Make bypasses of shards that are crowded, for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self._crowds else None):
                    await self._crowded.wait()
            self._crowded.clear()
            for source in [s for s in self._sources.values() if s.crowded]:
                await self._tend_crowd(source)
            left_out = sum(crowd.left_out for crowd in self._crowds.values())
            self._counts(crowded=len(self.by_shard), left_out=left_out)
            await asyncio.sleep(_PACE_S)

    async def _tend_crowd(self, source: Source) -> None:
        """Look at a crowded shard if it is time to."""
        loop = asyncio.get_running_loop()
        crowd, began = self._crowds.setdefault(source.shard, _Crowd()), loop.time()
        if began < crowd.look_at:
            return
        try:
            looked = await self._look(source, crowd)
        except (TimeoutError, nats.errors.Error, OSError, HooklineError) as error:
            _log.warning("no way past a crowd: %r", error)
            crowd.look_at = loop.time() + LOOK_S
            return
        if looked:
            crowd.look_at = loop.time() + max(LOOK_S, (loop.time() - began) * SHARE)

    async def _look(self, source: Source, crowd: _Crowd) -> bool:
        """See that a crowded shard has a bypass for all that do not crowd it.

        Tells whether it is known who does: of what waits too little may have been seen.
        """
        bypass = self.by_shard.get(source.shard)
        for crowded in (source, bypass):
            if crowded is not None and crowded.crowded and len(crowded.sample) >= ENOUGH:
                crowd.names |= crowding(crowded.sample)
        if not crowd.names:
            return False
        subjects = await self._subjects(f"{SHARD_ROOT}.{source.shard}.>")
        names, crowd.left_out = passing(subjects, crowd.names)
        if bypass is None or list(bypass.names) != names:
            await self._renew(source, crowd, names)
        return True

    async def _renew(self, source: Source, crowd: _Crowd, names: list[str]) -> None:
        former = self.by_shard.pop(source.shard, None)
        if former is not None:
            await self._end(former)
        if not names or self._sources.get(source.shard) is not source:
            return
        made = source.bypass(names)
        await self._begin(made)
        if self._crowds.get(source.shard) is not crowd:  # lost, or another stream's, meanwhile
            await self._end(made)
            return
        self.by_shard[source.shard] = made
        _log.info("shard %d is crowded: %d apps are read past it", source.shard, len(names))


def _is_through(source: Source) -> bool:
    """Tell whether a crowd is over: the last of it may be in a batch that takes its time."""
    return source.waiting <= FEW and not source.taking


def subjects_request(subjects: str) -> bytes:
    """Make the body of `$JS.API.STREAM.INFO` that asks for the subjects that fit a filter."""
    return json.dumps({"subjects_filter": subjects}).encode()
