"""The log of attempts as operators are told of it, many in one event.

Settling stages which attempts there were; what they were is looked up when they are told.
"""

from typing import Final

from schema.event import MAX_CHANNELS
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("attempt_log")
LINES: Final = 500  # attempts of an event
_COUNTED: Final = 1_000_000


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that tells of attempts now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def tell(link: Link, *, most: int, event_bytes: int) -> int:
    """Write events about the attempts that were staged first, and forget these; say how many.

    An event is about as many apps as it may have channels, so each app's listeners hear of it.

    Args:
        link: The connection that the transaction is on.
        most: How many attempts.
        event_bytes: How long the data of an event may be, but for its last line.
    """
    return int(await link.fetchval(_SQL["tell"], most, LINES, MAX_CHANNELS, event_bytes))


async def waiting(link: Link) -> int:
    """Say how many attempts are staged, up to a million."""
    return int(await link.fetchval(_SQL["waiting"], _COUNTED))
