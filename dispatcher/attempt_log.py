"""Tells operators of attempts, many at once, by one dispatcher at a time.

A round is one transaction: what was staged is deleted, and written as events that `notices`
publishes. While too many of these wait, what is staged stays: it is much smaller.
"""

from typing import Final

from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema.store import attempt_log as store
from schema.store import operational
from schema.store.link import Pool

PAGE: Final = 5_000  # attempts of a transaction
MOST_WAITING: Final = 20  # events; bounds what `notices` reads at once


class AttemptLog:
    """The log of attempts, told to operators."""

    def __init__(self, given: Parts) -> None:
        """Tell nothing yet."""
        self._pool: Pool = given.pool
        self._every_s = given.config.attempt_log_s
        self._event_bytes = given.config.max_payload_bytes // 2

    async def run(self) -> None:
        """Tell of attempts, for ever."""
        await rounds("telling of attempts", self.once, pause_s=self._every_s)

    async def once(self) -> bool:
        """Tell of the attempts that were staged first, unless another process is at it.

        Tells whether there are more that may be told at once.
        """
        async with self._pool.acquire() as link, link.transaction():
            if not await store.try_lock(link):
                return False
            if await operational.waiting(link, MOST_WAITING) >= MOST_WAITING:
                return False
            taken = await store.tell(link, most=PAGE, event_bytes=self._event_bytes)
        return taken == PAGE
