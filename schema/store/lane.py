"""What is owed, per lane."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

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
    """A delivery of lane `number` (from 0); `is_due` false: only says what is due next."""

    number: int
    is_due: bool
    message_id: str
    attempts: int
    failures: int
    run: int
    manual: bool
    due_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """What is sent; `payload` None: the message is no more, or was expunged."""

    event_type: str
    payload: bytes | None
    content_type: str
    created_at: datetime | None


async def survey(link: Link, shard: int) -> list[tuple[str, str, datetime]]:
    """Give each app and endpoint of a shard that is owed something, with its first due time."""
    rows = await link.fetch(_SQL["survey"], shard)
    return [(row["app_id"], row["endpoint_id"], row["due_at"]) for row in rows]


async def due(link: Link, lanes: Sequence[Asked]) -> list[DueRow]:
    """Read of lanes what is due by their time, and what is next after it."""
    rows = await link.fetch(_SQL["due"], *map(list, zip(*lanes, strict=True)))
    return [
        DueRow(
            number=row["number"] - 1,
            is_due=row["is_due"],
            message_id=row["message_id"],
            attempts=row["attempts"],
            failures=row["failures"],
            run=row["run"],
            manual=row["manual"],
            due_at=row["due_at"],
            delivered_at=row["delivered_at"],
        )
        for row in rows
    ]


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


async def drain_wake(link: Link, shards: Collection[int]) -> list[tuple[int, str, str]]:
    """Take the work (shard, app, endpoint) that others made for these shards."""
    rows = await link.fetch(_SQL["drain_wake"], list(shards))
    return [(row["shard"], row["app_id"], row["endpoint_id"]) for row in rows]
