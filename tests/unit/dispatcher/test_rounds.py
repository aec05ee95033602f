"""Work that goes on for ever ends when it is told to."""

import asyncio
from contextlib import suppress

from dispatcher.rounds import end


async def test_a_task_that_swallows_a_cancellation_is_ended_all_the_same() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while swallowed < 1:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            swallowed += 1
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(stubborn()), asyncio.create_task(asyncio.Event().wait())]
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await end(tasks)  # type: ignore[arg-type]

    assert swallowed == 1
    assert all(task.cancelled() for task in tasks)


async def test_ending_nothing_ends_at_once() -> None:
    await end([])
