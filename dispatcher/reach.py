"""Work with Postgres that is done again, by whoever asked, if Postgres is away."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from schema.errors import Unavailable
from schema.store.pool import reachable

PAUSE_S: Final = 0.5
_log = logging.getLogger(__name__)


async def when_reachable(work: Callable[[], Awaitable[None]]) -> bool:
    """Do something with Postgres; tell whether it was there. If it was not, a pause is over."""
    try:
        async with reachable():
            await work()
    except Unavailable as error:
        _log.warning("waits for Postgres: %s", error.__cause__)
        await asyncio.sleep(PAUSE_S)
        return False
    return True
