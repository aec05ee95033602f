"""Compares what the intake took with what the stream holds, by one dispatcher at a time.

A shard's statement counts its events with its position. Between two positions the stream holds as
many of the shard's, or the intake has passed one by. Where the stream has dropped some of them, or
is another one by now, nothing can be said, and the next comparison begins here.
"""

import logging
from typing import Final

from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema import stream
from schema.event import shard_filters
from schema.reconciliation import Progress
from schema.store import reconciliation as store
from schema.store.link import Link, Pool

EVERY_S: Final = 60.0
_ANSWER_S: Final = 2.0
_TRIES: Final = 5  # while events come in between questions
_log = logging.getLogger(__name__)


class StreamCheck:
    """Asks the stream now and then."""

    def __init__(self, given: Parts) -> None:
        """Ask nothing yet."""
        self._pool: Pool = given.pool
        self._bus = given.bus
        self._stream = given.config.stream
        self._missed = given.metrics.missed

    async def run(self) -> None:
        """Compare, for ever."""
        await rounds("counting the stream", self.once, pause_s=EVERY_S)

    async def once(self) -> bool:
        """Compare what went on since the last time, unless another process is at it."""
        try:
            async with self._pool.acquire() as link, link.transaction():
                if await store.try_lock_stream(link):
                    await self._check(link)
        except (LookupError, ValueError) as error:  # there is no such stream, or it says so little
            _log.warning("the stream cannot be counted: %r", error)
        return False

    async def _check(self, link: Link) -> None:
        for shard, now, then in await store.unchecked(link):
            if then is None or await self._compare(shard, then, now):
                await store.checked(link, shard, now)

    async def _compare(self, shard: int, then: Progress, now: Progress) -> bool:
        """Tell of events that were passed by; False: the stream would not stand still."""
        if then.stream_at != now.stream_at:
            return True
        if not now.counted_from <= then.position <= now.position:
            return True
        held = 0
        for subject in shard_filters(shard):
            number = await self._between(subject, then.position, now.position)
            if number is None:
                return False
            held += number
        # Asked last: what was dropped before that was dropped before it was counted, or is told.
        if await self._first() > then.position + 1:
            return True
        missed = held - (now.taken - then.taken)
        if missed:
            self._missed.inc(abs(missed))
            _log.error(
                "shard %d: of %d events of the stream between %d and %d, %d were taken",
                shard, held, then.position, now.position, now.taken - then.taken,
            )  # fmt: skip
        return True

    async def _between(self, subject: str, low: int, high: int) -> int | None:
        """Count a subject's events behind `low` up to `high`; None if more come all the time."""
        behind = await self._behind(subject, low)
        for _ in range(_TRIES):
            beyond = await self._behind(subject, high)
            again = await self._behind(subject, low)
            if again == behind:
                return behind - beyond
            behind = again
        return None

    async def _behind(self, subject: str, position: int) -> int:
        asked = stream.count_request(subject, position + 1)
        where = stream.count_subject(self._stream)
        answer = await self._bus.request(where, asked, timeout=_ANSWER_S)
        found = stream.read_count(answer.headers)
        return found[0] if found is not None else 0

    async def _first(self) -> int:
        """Give the sequence of the oldest event that the stream holds."""
        where = stream.info_subject(self._stream)
        answer = await self._bus.request(where, b"", timeout=_ANSWER_S)
        return stream.read_first(answer.data)
