"""Messages, as the API reads them; the dispatcher's intake writes them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from schema.message import Message
from schema.store import statements
from schema.store.link import Link
from schema.store.span import Span

_SQL = statements.load("message")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which messages of a page are meant; None is all."""

    event_types: tuple[str, ...] | None = None
    channel: str | None = None
    tag: str | None = None


async def by_id(link: Link, app_id: str, message_id: str) -> Message | None:
    """Give a message."""
    row = await link.fetchrow(_SQL["by_id"], app_id, message_id)
    return None if row is None else noun(row)


async def by_event_id(link: Link, app_id: str, event_id: str) -> Message | None:
    """Give the message that an event id belongs to."""
    row = await link.fetchrow(_SQL["by_event_id"], app_id, event_id)
    return None if row is None else noun(row)


class Wanted(NamedTuple):
    """What may belong to a message of an app already: an event id, and the end of an id."""

    app_id: str
    event_id: str | None
    key: str | None


class Known(NamedTuple):
    """To which messages they belong, if so."""

    by_event_id: str | None = None
    by_key: str | None = None


async def known(link: Link, wanted: Sequence[Wanted], *, since: str) -> list[Known]:
    """Say which messages some event ids and keys belong to; keys count from id `since` on."""
    columns = [list(column) for column in zip(*wanted, strict=True)]
    found = [NOTHING_KNOWN] * len(wanted)
    for row in await link.fetch(_SQL["known"], *columns, since):
        found[row["number"] - 1] = Known(row["by_event_id"], row["by_key"])
    return found


async def by_key(link: Link, app_id: str, key: str) -> Message | None:
    """Give the message whose id ends so, if that is an idempotency key."""
    row = await link.fetchrow(_SQL["by_key"], app_id, key)
    return None if row is None else noun(row)


async def page(
    link: Link,
    app_id: str,
    span: Span,
    wanted: Filter,
    *,
    with_payload: bool,
) -> list[Message]:
    """Give messages in the direction of the scan."""
    rows = await link.fetch(
        _SQL[f"page_{span.way}"],
        app_id,
        span.low,
        span.high,
        span.limit,
        wanted.event_types,
        wanted.channel,
        wanted.tag,
        with_payload,
    )
    return [noun(row) for row in rows]


async def named(link: Link, app_id: str, message_ids: Collection[str]) -> dict[str, Message]:
    """Give messages by id, without payload."""
    if not message_ids:
        return {}
    rows = await link.fetch(
        _SQL["named"], app_id, list(message_ids), min(message_ids), max(message_ids)
    )
    return {row["id"]: noun(row) for row in rows}


async def expunge(link: Link, app_id: str, message_id: str, at: datetime) -> bool:
    """Forget a payload, in the message and its dead letters; False if there is no such message."""
    return await link.fetchval(_SQL["expunge"], app_id, message_id, at) is not None


async def restore(link: Link, app_id: str, letter_id: str, message_id: str) -> None:
    """Bring the message of a dead letter back, if retention took it away."""
    await link.execute(_SQL["restore"], app_id, letter_id, message_id)


async def origin(link: Link, app_id: str, message_id: str) -> tuple[str, str | None] | None:
    """Give the letter that a message was made of, and the message that had died, if it is known."""
    row = await link.fetchrow(_SQL["origin"], app_id, message_id)
    return None if row is None else (row["letter_id"], row["message_id"])


async def made_of(link: Link, app_id: str, letter_id: str) -> list[str]:
    """Give the messages that were made of a letter, the newest first, a hundred at most."""
    return [row["message_id"] for row in await link.fetch(_SQL["made_of"], app_id, letter_id)]


def noun(row: "asyncpg.Record") -> Message:
    """Read a message from a row that has its columns."""
    return Message(
        app_id=row["app_id"],
        id=row["id"],
        event_type=row["event_type"],
        event_id=row["event_id"],
        channels=_tuple(row["channels"]),
        tags=_tuple(row["tags"]),
        payload=row["payload"],
        content_type=row["content_type"],
        created_at=row["created_at"],
        deliver_at=row["deliver_at"],
    )


NOTHING_KNOWN: Final = Known()


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
