"""Pollers, their consumers, and what they read."""

from datetime import datetime
from typing import Final

import asyncpg

from schema import ids
from schema.errors import Conflict
from schema.poller import Helping, Lease, Poller, Wanted
from schema.store import message, statements
from schema.store.link import Link

MOST_LOOKED: Final = 1_000  # messages that one reading looks at
_SQL = statements.load("poller")
_TAKEN = "A poller with that uid already exists"


async def find(link: Link, app_id: str, ref: str) -> Poller | None:
    """Find a poller of an app by its id or uid; a uid never looks like an id."""
    name = "by_id" if ref.startswith(ids.POLLER) else "by_uid"
    row = await link.fetchrow(_SQL[name], app_id, ref)
    return None if row is None else _noun(row)


async def of_app(link: Link, app_id: str) -> list[Poller]:
    """Give an app's pollers, the oldest first."""
    return [_noun(row) for row in await link.fetch(_SQL["all"], app_id)]


async def insert(link: Link, poller: Poller) -> None:
    """Write a new poller.

    Raises:
        Conflict: Its uid is taken.
    """
    await _write(link, "insert", poller)


async def update(link: Link, poller: Poller) -> None:
    """Write what may change of a poller.

    Raises:
        Conflict: Its uid is taken.
    """
    await _write(link, "update", poller)


async def delete(link: Link, app_id: str, poller_id: str) -> None:
    """Delete a poller with its consumers."""
    await link.execute(_SQL["delete"], app_id, poller_id)


async def lock_consumer(link: Link, poller: Poller, consumer_id: str) -> str | None:
    """Say how far a consumer has read, and have others of its name wait; None: it never has."""
    found: str | None = await link.fetchval(
        _SQL["lock_consumer"], poller.app_id, poller.id, consumer_id
    )
    return found


async def consumers(link: Link, poller: Poller, most: int) -> int:
    """Count a poller's consumers, no further than `most`."""
    number: int = await link.fetchval(_SQL["consumers"], poller.app_id, poller.id, most)
    return number


async def set_consumer(
    link: Link, poller: Poller, consumer_id: str, read_to: str, now: datetime
) -> None:
    """Note how far a consumer has read; what it held by lease it holds no more."""
    await link.execute(_SQL["set_consumer"], poller.app_id, poller.id, consumer_id, read_to, now)


async def begin_consumer(
    link: Link, poller: Poller, consumer_id: str, read_to: str, now: datetime
) -> None:
    """Have a consumer begin behind an id, unless it has begun."""
    await link.execute(_SQL["begin_consumer"], poller.app_id, poller.id, consumer_id, read_to, now)


async def lock_lease(link: Link, poller: Poller, consumer_id: str) -> Lease | None:
    """Say what a consumer holds, and have others of its name wait; None: it has not begun."""
    row = await link.fetchrow(_SQL["lock_lease"], poller.app_id, poller.id, consumer_id)
    if row is None:
        return None
    return Lease(
        read_to=row["read_to"],
        first_offset=row["first_offset"],
        message_ids=tuple(row["leased"]),
        until=row["leased_until"],
    )


async def set_lease(
    link: Link, poller: Poller, consumer_id: str, lease: Lease, now: datetime
) -> None:
    """Note what a consumer that has begun holds."""
    await link.execute(
        _SQL["set_lease"],
        poller.app_id,
        poller.id,
        consumer_id,
        lease.read_to,
        lease.first_offset,
        lease.message_ids,
        lease.until,
        now,
    )


async def set_key(link: Link, poller: Poller, sealed: bytes) -> None:
    """Keep the sealed text of a poller's newest key."""
    await link.execute(_SQL["set_key"], poller.app_id, poller.id, sealed)


async def sealed_key(link: Link, poller: Poller) -> bytes | None:
    """Give the sealed text of a poller's newest key; None: it never had one."""
    found: bytes | None = await link.fetchval(_SQL["sealed_key"], poller.app_id, poller.id)
    return found


async def read(
    link: Link, app_id: str, wanted: Wanted, *, behind: str, before: str, most: int
) -> Helping:
    """Read the next messages between two ids, up to `most`, and of no more than it looks at."""
    looked = await link.fetch(
        _SQL["look"],
        app_id,
        behind,
        before,
        MOST_LOOKED,
        wanted.event_types,
        wanted.channels,
        wanted.channel,
    )
    fitting: list[str] = [row["id"] for row in looked if row["fits"]]
    chosen = fitting[:most]
    rows = await link.fetch(_SQL["read"], app_id, chosen, chosen[0], chosen[-1]) if chosen else []
    found = {row["id"]: message.noun(row) for row in rows}
    more = len(fitting) > most
    looked_to = looked[-1]["id"] if looked else ""
    return Helping(
        messages=[found[one] for one in chosen if one in found],
        read_to=chosen[-1] if more else looked_to,
        done=not more and len(looked) < MOST_LOOKED,
    )


async def _write(link: Link, name: str, poller: Poller) -> None:
    try:
        await link.execute(
            _SQL[name],
            poller.app_id,
            poller.id,
            poller.uid,
            poller.description,
            poller.event_types,
            poller.channels,
            poller.created_at,
            poller.updated_at,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(_TAKEN) from None


def _noun(row: "asyncpg.Record") -> Poller:
    return Poller(
        app_id=row["app_id"],
        id=row["id"],
        uid=row["uid"],
        description=row["description"],
        event_types=None if row["event_types"] is None else tuple(row["event_types"]),
        channels=None if row["channels"] is None else tuple(row["channels"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
