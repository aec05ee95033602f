"""Work that is done again and again by whichever dispatcher comes first."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg
import nats.errors

from schema.errors import Unavailable
from schema.store.pool import reachable

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
