"""Tells gateways that a test was settled. A word may be lost: rows are the truth."""

import asyncio
import logging
from collections.abc import Sequence

import nats.errors
from nats.aio.client import Client

from dispatcher.settle import Settled
from schema.event import SETTLED_ROOT

_log = logging.getLogger(__name__)


class Word:
    """Publishes the ids of messages whose one attempt was settled."""

    def __init__(self, bus: Client, tests: set[str]) -> None:
        """Tell of nothing yet; `tests` are the messages that somebody waits for."""
        self._bus = bus
        self._tests = tests
        self._settled: asyncio.Queue[str] = asyncio.Queue()

    def settled(self, batch: Sequence[Settled]) -> None:
        """Take note of a batch that was written; it has a test, perhaps."""
        for one in batch:
            message_id = one.settlement.message_id
            if message_id in self._tests:
                self._tests.discard(message_id)
                self._settled.put_nowait(message_id)

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            message_id = await self._settled.get()
            try:
                await self._bus.publish(f"{SETTLED_ROOT}.{message_id}")
            except (nats.errors.Error, OSError) as error:
                _log.info("nobody was told that %s is settled: %s", message_id, error)
