"""Whoever waits for NATS may stop waiting: he ends, and nobody else hears of it."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable

import nats.errors
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.bus import Bus
from tests.services import Services

ASK = "ask.something"
MOST_TURNS = 60  # of the loop, from the question to the answer and more
ROUNDS = 6


async def reply(msg: Msg) -> None:
    await msg.respond(b"so")


async def swallowed(ask: Callable[[], Awaitable[object]]) -> int:
    """Cancel who asks after each number of turns of the loop; count who went on regardless."""

    async def twice() -> bool:
        await ask()
        # Whoever was cancelled before this, and hears of it, does not come here.
        asked = asyncio.current_task()
        return asked is not None and asked.cancelling() > 0

    count = 0
    for turns in [*range(MOST_TURNS)] * ROUNDS:
        asking = asyncio.create_task(twice())
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        (came,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(came, bool | asyncio.CancelledError)
        count += came is True
    return count


async def test_nobody_who_asks_goes_on_when_cancelled(bus: Client) -> None:
    await bus.subscribe(ASK, cb=reply)
    await bus.flush()
    assert isinstance(bus, Bus)

    assert await swallowed(lambda: bus.request(ASK, b"what", timeout=5)) == 0


async def test_who_stops_waiting_for_a_flush_leaves_the_connection_as_it_was(
    bus: Client, services: Services
) -> None:
    await bus.subscribe(ASK, cb=reply)
    await bus.flush()
    assert isinstance(bus, Bus)

    assert await swallowed(lambda: bus.flush(timeout=5)) == 0
    os.kill(services.nats.pid, signal.SIGSTOP)
    try:
        with pytest.raises(nats.errors.TimeoutError):
            await bus.flush(timeout=0.000_001)
    finally:
        os.kill(services.nats.pid, signal.SIGCONT)

    answer = await bus.request(ASK, b"what", timeout=5)
    assert answer.data == b"so"
