"""What is owed, per lane."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("lane")


class Asked(NamedTuple):
    """A lane, how many deliveries it has room for, and by when they must be due."""

    shard: int
    app_id: str
    endpoint_id: str
    room: int
    by: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DueRow:
    """A delivery of lane `number` (from 0); `is_due` false: only says what is next, and when."""

    number: int
    is_due: bool
    message_id: str
    attempts: int
    failures: int
    run: int
    manual: bool
    due_at: datetime
    delivered_at: datetime | None
    place: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """What is sent; `payload` None: the message is no more, or was expunged."""

    event_type: str
    payload: bytes | None
    content_type: str
    created_at: datetime | None


async def survey(link: Link, shard: int) -> list[tuple[str, str, datetime]]:
    """Give each app and endpoint of a shard that is owed something, with its first due time.

    What has a place in an order is not meant.
    """
    rows = await link.fetch(_SQL["survey"], shard)
    return [(row["app_id"], row["endpoint_id"], row["due_at"]) for row in rows]


async def survey_in_order(link: Link, shard: int) -> list[tuple[str, str, datetime]]:
    """Give those that are owed something with a place, with the due time of the first in order."""
    rows = await link.fetch(_SQL["survey_in_order"], shard)
    return [(row["app_id"], row["endpoint_id"], row["due_at"]) for row in rows]


async def due(link: Link, lanes: Sequence[Asked]) -> list[DueRow]:
    """Read of lanes what is due by their time, and what is next after it; not what has a place."""
    rows = await link.fetch(_SQL["due"], *map(list, zip(*lanes, strict=True)))
    return list(map(_due_row, rows))


async def in_order(link: Link, lanes: Sequence[Asked]) -> list[DueRow]:
    """Read of lanes what comes first by place, due or not, in this order."""
    rows = await link.fetch(_SQL["in_order"], *map(list, zip(*lanes, strict=True)))
    return sorted(map(_due_row, rows), key=lambda row: (row.number, row.place))


async def by_hand(link: Link, lanes: Sequence[tuple[str, str, int]]) -> list[DueRow]:
    """Read of lanes (app, endpoint, how many) what was asked for by hand, place or not."""
    rows = await link.fetch(_SQL["by_hand"], *map(list, zip(*lanes, strict=True)))
    return list(map(_due_row, rows))


async def unplace(link: Link, shard: int, app_id: str, endpoint_id: str, *, most: int) -> int:
    """Have deliveries that have places go by their due times; say how many did."""
    status = await link.execute(_SQL["unplace"], shard, app_id, endpoint_id, most)
    return int(status.rpartition(" ")[2])


async def messages(
    link: Link, wanted: Sequence[tuple[str, str]], *, most_bytes: int
) -> list[MessageRow]:
    """Read messages (app, id) in this order, as many as fit; at least one if any is wanted."""
    idents = [message_id for _, message_id in wanted]
    rows = await link.fetch(
        _SQL["messages"],
        [app_id for app_id, _ in wanted],
        idents,
        most_bytes,
        min(idents),
        max(idents),
    )
    return [
        MessageRow(
            event_type=row["event_type"] or "",
            payload=row["payload"],
            content_type=row["content_type"] or "",
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def drain_wake(link: Link, shards: Collection[int]) -> list[tuple[int, str, str, bool]]:
    """Take the work (shard, app, endpoint) that others made; True if some was called off, too."""
    rows = await link.fetch(_SQL["drain_wake"], list(shards))
    return [(row["shard"], row["app_id"], row["endpoint_id"], row["recall"]) for row in rows]


def _due_row(row: "asyncpg.Record") -> DueRow:
    return DueRow(
        number=row["number"] - 1,
        is_due=row["is_due"],
        message_id=row["message_id"],
        attempts=row["attempts"],
        failures=row["failures"],
        run=row["run"],
        manual=row["manual"],
        due_at=row["due_at"],
        delivered_at=row["delivered_at"],
        place=row["place"],
    )
