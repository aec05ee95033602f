"""Adds up the attempts that were counted by event type, by one dispatcher at a time.

The statements that settle write what they counted, one row each. Adding up apart from them keeps
them from waiting for each other, and is where the number of event types is bounded.
"""

from typing import Final

from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema.store import type_count as store

EVERY_S: Final = 1.0
STATEMENTS: Final = 2_000  # of a transaction


class TypeCounts:
    """The counts of attempts by event type."""

    def __init__(self, given: Parts) -> None:
        """Add up nothing yet."""
        self._pool = given.pool
        self._types = given.config.counted_types
        self._nameless = given.metrics.nameless

    async def run(self) -> None:
        """Add up, for ever."""
        await rounds("counting by event type", self.once, pause_s=EVERY_S)

    async def once(self) -> bool:
        """Add up what waits, unless another process is at it; tell whether there is more."""
        async with self._pool.acquire() as link, link.transaction():
            if not await store.try_lock(link):
                return False
            folded = await store.fold(link, most=STATEMENTS, types=self._types)
        self._nameless.inc(folded.nameless)
        return folded.statements == STATEMENTS
