"""Rows by the hundred thousand, put straight into the tables: made by Postgres itself.

Ids are of a moment and counted up behind it, so they sort as real ones do. Every function ends with
the tables vacuumed and analysed: nothing is left for the autovacuum to do while others measure.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from schema import ids
from schema.store import partition
from tests.load.payload import EVENT_TYPE, sql_body

_HEAD: Final = 10  # characters of an id that say its moment
_TAIL: Final = ids.LENGTH - _HEAD
_AT_ONCE: Final = 20_000  # rows of a statement
_STATEMENT_S: Final = 600.0
_ANSWER: Final = '{"content-type": "text/plain"}'

Link = asyncpg.Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Whom rows are made for."""

    app_id: str
    endpoint_id: str
    shard: int
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededLog:
    """A log that was made: its moments, oldest first, and how many messages each has."""

    moments: Sequence[datetime]
    messages: int


def seeded_id(prefix: str, at: datetime, number: int) -> str:
    """Give the id of the `number`-th row of a moment."""
    return ids.new_id(prefix, at, bytes(20))[: len(prefix) + _HEAD] + f"{number:0{_TAIL}}"


async def owed(link: "Link[asyncpg.Record]", target: Target, number: int) -> None:
    """Owe an endpoint so many deliveries, due now."""
    await _messages(link, target, number)
    await _deliveries(link, target, number, "'pending', now(), NULL")
    await _tidy(link, "message", "delivery")


async def letters(
    link: "Link[asyncpg.Record]", target: Target, number: int, *, first: int = 0, kinds: int = 1
) -> None:
    """Make so many dead letters, with messages and deliveries.

    Args:
        link: Where to.
        target: Whose letters.
        number: How many.
        first: What they are counted from; those of an app have to differ.
        kinds: How many kinds of failures there are among them, in turn: a group each.
    """
    await _messages(link, target, number, first)
    await _deliveries(link, target, number, "'dead', NULL, 'exhausted'", first)
    prefix, message_prefix = _prefix(ids.DEAD_LETTER), _prefix(ids.MESSAGE)
    await link.execute(
        f"""INSERT INTO dead_letter
                (environment_id, app_id, id, message_id, endpoint_id, reason, event_type, payload,
                 content_type, url, status, detail, response, fingerprint, attempts, message_at,
                 first_attempt_at, last_attempt_at, parked_at, updated_at)
            SELECT a.environment_id, $1, '{prefix}' || lpad(n::text, {_TAIL}, '0'),
                   '{message_prefix}' || lpad(n::text, {_TAIL}, '0'), $2, 'exhausted',
                   '{EVENT_TYPE}', {sql_body("n")}, 'application/json', $3, 500 + n % $6, '',
                   convert_to('{{"error": "no order ' || n || '"}}', 'UTF8'),
                   lpad((n % $6)::text, 16, '0'), 10, now(), now(), now(), now(), now()
            FROM generate_series($5::int, $5 + $4 - 1) AS n, app AS a WHERE a.id = $1""",
        target.app_id,
        target.endpoint_id,
        target.url,
        number,
        first,
        kinds,
        timeout=_STATEMENT_S,
    )
    await _tidy(link, "message", "delivery", "dead_letter")


def letter_id(number: int) -> str:
    """Give the id of a letter that `letters` made."""
    return f"{_prefix(ids.DEAD_LETTER)}{number:0{_TAIL}}"


async def log(
    dsn: str, app_id: str, endpoint_ids: Sequence[str], *, attempts: int, days: int
) -> SeededLog:
    """Make a log of so many attempts over some days: each message once to every endpoint."""
    of_moment = _AT_ONCE // len(endpoint_ids)
    now = datetime.now(UTC)
    number = max(1, attempts // _AT_ONCE)
    # As many moments as statements, evenly over the days, the last an hour ago.
    moments = [
        now - timedelta(hours=1) - timedelta(days=days) * (number - 1 - place) / number
        for place in range(number)
    ]
    link = await asyncpg.connect(dsn)
    try:
        midnights = {
            moment.replace(hour=0, minute=0, second=0, microsecond=0) for moment in moments
        }
        await partition.make(link, sorted(midnights))
        await _log_halves(dsn, app_id, endpoint_ids, moments, of_moment)
        await _tidy(link, "message", "attempt")
    finally:
        await link.close()
    return SeededLog(moments=moments, messages=of_moment)


async def _log_halves(
    dsn: str, app_id: str, endpoint_ids: Sequence[str], moments: Sequence[datetime], messages: int
) -> None:
    """Fill two at a time: a session of Postgres uses one core."""
    left = iter(moments)

    async def fill() -> None:
        link = await asyncpg.connect(dsn)
        try:
            for moment in left:
                await _log_moment(link, app_id, endpoint_ids, moment, messages)
        finally:
            await link.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(fill())
        group.create_task(fill())


async def _log_moment(
    link: "Link[asyncpg.Record]",
    app_id: str,
    endpoint_ids: Sequence[str],
    at: datetime,
    messages: int,
) -> None:
    message = _prefix(ids.MESSAGE, at)
    await link.execute(
        f"""INSERT INTO message (app_id, id, event_type, payload, content_type, created_at)
            SELECT $1, '{message}' || lpad(n::text, {_TAIL}, '0'), '{EVENT_TYPE}', {sql_body("n")},
                   'application/json', $2
            FROM generate_series(0, $3 - 1) AS n""",
        app_id,
        at,
        messages,
        timeout=_STATEMENT_S,
    )
    # One in ten failed. The place of an attempt counts message by message, endpoint by endpoint.
    await link.execute(
        f"""INSERT INTO attempt
                (app_id, id, message_id, endpoint_id, event_type, number, trigger, verdict, url,
                 status, started_at, duration_ms, phases_ms, address, reused, response,
                 response_headers)
            SELECT $1, '{_prefix(ids.ATTEMPT, at)}' || lpad((n * $4 + e - 1)::text, {_TAIL}, '0'),
                   '{message}' || lpad(n::text, {_TAIL}, '0'), ep, '{EVENT_TYPE}', 1, 0,
                   CASE WHEN n % 10 = 0 THEN 'retry' ELSE 'delivered' END,
                   'https://hooks.example.com/in', CASE WHEN n % 10 = 0 THEN 500 ELSE 200 END,
                   $2, 12, '{{0,0,0,11,1}}', '127.0.0.1', true, 'thanks', '{_ANSWER}'
            FROM generate_series(0, $3 - 1) AS n,
                 unnest($5::text[]) WITH ORDINALITY AS u(ep, e)""",
        app_id,
        at,
        messages,
        len(endpoint_ids),
        endpoint_ids,
        timeout=_STATEMENT_S,
    )


async def _messages(
    link: "Link[asyncpg.Record]", target: Target, number: int, first: int = 0
) -> None:
    await link.execute(
        f"""INSERT INTO message (app_id, id, event_type, payload, content_type, created_at)
            SELECT $1, '{_prefix(ids.MESSAGE)}' || lpad(n::text, {_TAIL}, '0'), '{EVENT_TYPE}',
                   {sql_body("n")}, 'application/json', now()
            FROM generate_series($3::int, $3 + $2 - 1) AS n""",
        target.app_id,
        number,
        first,
        timeout=_STATEMENT_S,
    )


async def _deliveries(
    link: "Link[asyncpg.Record]", target: Target, number: int, how: str, first: int = 0
) -> None:
    """Make deliveries; `how` is their state, due time and reason as SQL."""
    await link.execute(
        f"""INSERT INTO delivery
                (app_id, message_id, endpoint_id, shard, state, due_at, reason, created_at)
            SELECT $1, '{_prefix(ids.MESSAGE)}' || lpad(n::text, {_TAIL}, '0'), $2, $3, {how},
                   now()
            FROM generate_series($5::int, $5 + $4 - 1) AS n""",
        target.app_id,
        target.endpoint_id,
        target.shard,
        number,
        first,
        timeout=_STATEMENT_S,
    )


async def _tidy(link: "Link[asyncpg.Record]", *tables: str) -> None:
    for table in tables:
        await link.execute(f"VACUUM (ANALYZE) {table}", timeout=_STATEMENT_S)
    await link.execute("CHECKPOINT", timeout=_STATEMENT_S)


def _prefix(prefix: str, at: datetime | None = None) -> str:
    """Give what the ids of a moment begin with; by default of one moment of this process."""
    return seeded_id(prefix, at or _STARTED_AT, 0)[: len(prefix) + _HEAD]


_STARTED_AT: Final = datetime.now(UTC)
