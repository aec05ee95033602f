"""Publishes operational events to the operational apps, each once, by one dispatcher at a time.

An event is deleted after the stream has acknowledged it. What dies in between publishes it again
under the same message id, which the stream and the intake know already. Of one kind and key only so
many are published in a minute; the others are counted, and told in one digest.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import orjson
from nats.js import JetStreamContext

from dispatcher.metrics import Metrics
from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema import event
from schema.operational import app_of, is_fresh, message_of
from schema.store import operational as store
from schema.store.link import Link, Pool
from schema.store.operational import Waiting

PAUSE_S: Final = 1.0
PAGE: Final = 500
ACK_S: Final = 5.0


class Notices:
    """What is told to operators."""

    def __init__(self, given: Parts) -> None:
        """Publish on the dispatcher's connection."""
        self._pool: Pool = given.pool
        self._bus = given.bus
        self._clock: Callable[[], datetime] = given.clock
        self._per_minute = given.config.operational_per_minute
        self._metrics: Metrics = given.metrics
        self._digested_at: datetime | None = None

    async def run(self) -> None:
        """Publish what is written, for ever."""
        await rounds("telling operators", self.once, pause_s=PAUSE_S)

    async def once(self) -> bool:
        """Publish the oldest events, unless another process is at it; tell whether there are more.

        Raises:
            nats.errors.Error: The stream does not take them.
        """
        async with self._pool.acquire() as link, link.transaction():
            if not await store.try_lock(link):
                return False
            page = await store.page(link, most=PAGE, per_minute=self._per_minute)
            await self._publish([notice for notice in page if notice.passes])
            if page:
                await store.finish(link, page)
            full = len(page) == PAGE
            if not full:  # nothing of the minutes before waits any more
                await self._digest(link)
        self._count(page)
        return full

    async def _digest(self, link: Link) -> None:
        minute = self._clock().replace(second=0, microsecond=0)
        if minute != self._digested_at:
            await store.digest(link, minute)
            self._digested_at = minute

    async def _publish(self, waiting: Sequence[Waiting]) -> None:
        stream = self._bus.jetstream(timeout=ACK_S)
        now = self._clock()
        acks = [self._publish_one(stream, notice, now) for notice in waiting]
        for ack in await asyncio.gather(*acks, return_exceptions=True):
            if isinstance(ack, BaseException):
                raise ack

    async def _publish_one(self, stream: JetStreamContext, notice: Waiting, now: datetime) -> None:
        app_id = app_of(notice.environment_id)
        message_id = message_of(notice.environment_id, notice.number, notice.created_at)
        subject, headers = event.publish_subject(app_id, notice.kind)
        headers[event.DEDUPE_ID] = message_id
        if is_fresh(notice.created_at, now):
            headers[event.MESSAGE_ID] = message_id
        if notice.channels:
            headers[event.CHANNELS] = ",".join(notice.channels)
        await stream.publish(subject, _body(notice), headers=headers)

    def _count(self, page: Sequence[Waiting]) -> None:
        passed = sum(notice.passes for notice in page)
        self._metrics.notices.labels("published").inc(passed)
        self._metrics.notices.labels("suppressed").inc(len(page) - passed)


def _body(notice: Waiting) -> bytes:
    return orjson.dumps(
        {"type": notice.kind, "timestamp": notice.created_at, "data": notice.data},
        option=orjson.OPT_UTC_Z,
    )
