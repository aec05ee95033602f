"""Up to which time all messages are rows, so that whoever reads on by ids misses none.

Ids are made when an event is accepted, rows when it is taken in, and not in the same order. Before
the oldest event that is not a row yet, less the margin that a publication may take from its id to
the stream, there is nothing more to come.
"""

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final

import nats.errors

from gateway.ack import PART
from gateway.lag import Lag, stream_state
from gateway.parts import Parts
from schema.errors import Unavailable
from schema.store import shard

_KEPT_S: Final = 0.5
_KEPT_PER_COST: Final = 5  # and this many times as long as reading took


class Horizon:
    """Reads the horizon, not more often than it is worth."""

    def __init__(self) -> None:
        """Know none yet."""
        self._lag = Lag()
        self._lock = asyncio.Lock()
        self._at: datetime | None = None
        self._until_s = 0.0

    async def read(self, given: Parts) -> datetime:
        """Give the time before which all messages are rows, as of now or a moment ago.

        Raises:
            Unavailable: NATS or Postgres does not answer.
        """
        async with self._lock:
            started_s = time.monotonic()
            if self._at is None or started_s >= self._until_s:
                self._at = await self._read(given)
                ended_s = time.monotonic()
                self._until_s = ended_s + max(_KEPT_S, _KEPT_PER_COST * (ended_s - started_s))
            return self._at

    async def _read(self, given: Parts) -> datetime:
        now = given.clock()
        try:
            # What the stream had before: what is stored meanwhile was there.
            state = await stream_state(given)
            async with given.connection() as link:
                positions = await shard.positions(link)
            _, oldest_at = await self._lag.read(given, positions, state["last_seq"])
        except (nats.errors.Error, OSError, TimeoutError, LookupError, ValueError) as error:
            raise Unavailable(PART) from error
        margin = timedelta(seconds=given.config.poll_margin_s)
        return min(now, oldest_at or now) - margin
