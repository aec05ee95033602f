"""Work that is done again and again by whichever dispatcher comes first."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import asyncpg
import nats.errors

from schema.errors import Unavailable
from schema.store.pool import reachable

_AGAIN_S: Final = 1.0
_log = logging.getLogger(__name__)


async def rounds(name: str, once: Callable[[], Awaitable[bool]], *, pause_s: float) -> None:
    """Do something for ever, with a pause in between; what fails is tried again after it.

    Args:
        name: What the log calls it.
        once: Does it, and tells whether there is more to do at once.
        pause_s: How long to wait otherwise.
    """
    while True:
        more = False
        try:
            async with reachable():
                more = await once()
        except (Unavailable, asyncpg.PostgresError, nats.errors.Error, OSError) as error:
            _log.warning("%s waits: %r", name, error.__cause__ or error)
        if not more:
            await asyncio.sleep(pause_s)


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended.

    Before Python 3.12 `asyncio.wait_for`, which libraries use, swallows a cancellation that comes
    together with what it waits for; a task that does something for ever then goes on.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)
