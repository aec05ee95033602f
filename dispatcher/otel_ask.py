"""Sends a span to a collector because somebody asks now, over NATS; says what became of it.

Whoever asks is a gateway: it knows the collector, and gives its headers sealed.
"""

import asyncio
import logging
from base64 import b64decode
from collections.abc import Callable
from datetime import datetime
from secrets import token_bytes
from typing import Final

import nats.errors
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg

from dispatcher.collector import Collectors, Place, Result, Said
from dispatcher.otel_spans import sample
from dispatcher.parts import Parts
from schema.otel import ASK

QUEUE: Final = "dispatchers"  # one of them answers
AT_ONCE: Final = 4
WAITING: Final = 16
_SPAN_BYTES: Final = 24
_log = logging.getLogger(__name__)


class OtelAsk:
    """Answers gateways that want to know whether a collector takes spans."""

    def __init__(self, given: Parts, collectors: Collectors) -> None:
        """Answer nobody yet."""
        self._bus: Client = given.bus
        self._clock: Callable[[], datetime] = given.clock
        self._collectors = collectors
        self._asked: asyncio.Queue[Msg] = asyncio.Queue(WAITING)

    async def run(self) -> None:
        """Answer, for ever, a few at a time."""
        listening = await self._bus.subscribe(ASK, queue=QUEUE, cb=self._take)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._answer_each())
        finally:
            if self._bus.is_connected:
                await listening.unsubscribe()

    async def _take(self, msg: Msg) -> None:
        try:
            self._asked.put_nowait(msg)
        except asyncio.QueueFull:
            await _reply(msg, "too many ask at the moment")

    async def _answer_each(self) -> None:
        while True:
            msg = await self._asked.get()
            try:
                why = _why_not(await self._send(msg.data))
            except (LookupError, ValueError, TypeError) as error:
                why = f"the question was not understood: {type(error).__name__}"
            try:
                await _reply(msg, why)
            except (nats.errors.Error, OSError) as error:
                _log.info("whoever asked was not answered: %s", error)

    async def _send(self, data: bytes) -> Said:
        asked = orjson.loads(data)
        headers = asked["headers"]
        place = Place(
            asked["environmentId"], asked["url"], None if headers is None else b64decode(headers)
        )
        body = sample(place.environment_id, self._clock(), token_bytes(_SPAN_BYTES))
        return await self._collectors.send(place, body)


def _why_not(said: Said) -> str | None:
    if said.result is Result.EXPORTED and not said.rejected:
        return None
    return said.why or "the collector rejected the span"


async def _reply(msg: Msg, why: str | None) -> None:
    await msg.respond(orjson.dumps({"why": why}))
