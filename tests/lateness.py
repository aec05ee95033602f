"""What a receiver in a busy process may say of a rate: as much less as it was late itself.

async with measured_lateness() as lateness:
    ...  # something is sent
assert shortest_window_s(receiver.requests, rate) >= 1.0 - lateness.worst_s
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from tests.receiver import Received

_LOOK_S = 0.002
_TURNS = 3  # of the loop, until what came is noted: a connection accepted, read from, and its task


class Lateness:
    """How late this process was, at worst, in noting what arrived."""

    worst_s = 0.0

    async def watch(self) -> None:
        """Go the way of what arrives; what held it up may have begun right after a look."""
        loop = asyncio.get_running_loop()
        while True:
            asked_at = loop.time()
            await asyncio.sleep(_LOOK_S)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            self.worst_s = max(self.worst_s, loop.time() - asked_at)


@asynccontextmanager
async def measured_lateness() -> AsyncIterator[Lateness]:
    """Measure it meanwhile."""
    lateness = Lateness()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(lateness.watch())
        try:
            yield lateness
        finally:
            task.cancel()


def shortest_window_s(came: Iterable[Received], rate: int) -> float:
    """Give the shortest time in which one more than a second's worth came."""
    times = sorted(one.at for one in came)
    return min(after - before for before, after in zip(times, times[rate:], strict=False))
