"""Groups of letters that failed alike, as the API reads and moves them; triggers count them.

Pages are made of what is asked for, in the order of when a group was last seen or of how many of
its letters are parked: an index each for an app and for an environment.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import asyncpg

from schema.dead_letter import DeadLetterGroup, ErrorClass, GroupState
from schema.store import statements
from schema.store.link import Link

HOURS: Final = 24  # of a trend
_SQL = statements.load("dead_letter_group")
_HOUR: Final = timedelta(hours=1)
_SHOWN_BYTES: Final = 1_024  # of the newest letter's answer
_STATE: Final = """CASE WHEN g.state = 'snoozed' AND g.snoozed_until <= {now} THEN 'open'
                        ELSE g.state END"""
_COLUMNS: Final = f"""g.environment_id, g.app_id, g.id, g.endpoint_id, g.fingerprint, g.error_class,
    g.status, g.letter_id, coalesce(l.detail, '') AS detail,
    substring(l.response FOR {_SHOWN_BYTES}) AS response, g.parked, g.redelivering, g.total,
    g.first_seen_at, g.last_seen_at, {_STATE} AS state, g.state_at, g.state_by, g.snoozed_until,
    h.buckets, h.counts"""
_BESIDE: Final = """LEFT JOIN dead_letter AS l ON l.app_id = g.app_id AND l.id = g.letter_id
    LEFT JOIN LATERAL (
        SELECT array_agg(bucket) AS buckets, array_agg(parked) AS counts FROM dead_letter_hour AS h
        WHERE h.app_id = g.app_id AND h.group_id = g.id AND h.bucket > {now} - interval '24 hours'
    ) AS h ON true"""


class Order(StrEnum):
    """What groups are listed by; values name the columns."""

    LAST_SEEN = "last_seen_at"
    COUNT = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupFilter:
    """Which groups are meant; None is all. One app costs the least."""

    environment_id: str
    app_ids: tuple[str, ...] | None = None
    endpoint_ids: tuple[str, ...] | None = None
    states: tuple[str, ...] | None = None
    error_classes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSpan:
    """Up to `limit` groups behind a value of the order and an id, scanned up or down."""

    order: Order
    behind: tuple[datetime | int, str] | None
    up: bool
    limit: int


async def by_id(link: Link, app_id: str, group_id: str, now: datetime) -> DeadLetterGroup | None:
    """Give a group."""
    row = await link.fetchrow(
        f"""SELECT {_COLUMNS.format(now="$3")} FROM dead_letter_group AS g
            {_BESIDE.format(now="$3::timestamptz")}
            WHERE g.app_id = $1 AND g.id = $2""",  # noqa: S608 - values stand apart
        app_id,
        group_id,
        now,
    )
    return None if row is None else _noun(row, now)


async def page(
    link: Link, wanted: GroupFilter, span: GroupSpan, now: datetime
) -> list[DeadLetterGroup]:
    """Give groups in the direction of the scan."""
    values: list[object] = [now, span.limit]
    conditions = _conditions(wanted, values)
    way, beyond = ("ASC", ">") if span.up else ("DESC", "<")
    if span.behind is not None:
        value, ident = span.behind
        values += [value, ident]
        places = f"${len(values) - 1}", f"${len(values)}"
        conditions.append(f"(g.{span.order}, g.id) {beyond} ({', '.join(places)})")
    rows = await link.fetch(
        f"""WITH g AS MATERIALIZED (
                SELECT * FROM dead_letter_group AS g WHERE {" AND ".join(conditions)}
                ORDER BY g.{span.order} {way}, g.id {way} LIMIT $2)
            SELECT {_COLUMNS.format(now="$1")} FROM g {_BESIDE.format(now="$1::timestamptz")}
            ORDER BY g.{span.order} {way}, g.id {way}""",  # noqa: S608 - values stand apart
        *values,
    )
    return [_noun(row, now) for row in rows]


async def lock(link: Link, app_id: str, group_id: str, now: datetime) -> GroupState | None:
    """Keep a group from being changed by others; say where it stands."""
    found = await link.fetchval(_SQL["lock"], app_id, group_id, now)
    return None if found is None else GroupState(found)


async def set_state(
    link: Link,
    app_id: str,
    group_id: str,
    state: GroupState,
    *,
    at: datetime,
    key_id: str,
    snoozed_until: datetime | None = None,
) -> None:
    """Say where a group stands from now on."""
    await link.execute(_SQL["set_state"], app_id, group_id, state, at, key_id, snoozed_until)


def _conditions(wanted: GroupFilter, values: list[object]) -> list[str]:
    def one_of(column: str, chosen: Sequence[str]) -> str:
        values.append(list(chosen))
        return f"{column} = ANY (${len(values)}::text[])"

    if wanted.app_ids is not None and len(wanted.app_ids) == 1:
        values.append(wanted.app_ids[0])
        conditions = [f"g.app_id = ${len(values)}"]
    else:
        values.append(wanted.environment_id)
        conditions = [f"g.environment_id = ${len(values)}"]
        if wanted.app_ids is not None:
            conditions.append(one_of("g.app_id", wanted.app_ids))
    for column, chosen in (
        ("g.endpoint_id", wanted.endpoint_ids),
        (_STATE.format(now="$1::timestamptz"), wanted.states),
        ("g.error_class", wanted.error_classes),
    ):
        if chosen is not None:
            conditions.append(one_of(column, chosen))
    return conditions


def _noun(row: "asyncpg.Record", now: datetime) -> DeadLetterGroup:
    values = dict(row)
    found = dict(zip(values.pop("buckets") or (), values.pop("counts") or (), strict=True))
    hour = now.replace(minute=0, second=0, microsecond=0)
    trend = tuple(found.get(hour - n * _HOUR, 0) for n in reversed(range(HOURS)))
    values |= {
        "state": GroupState(values["state"]),
        "error_class": ErrorClass(values["error_class"]),
        "trend": trend,
    }
    return DeadLetterGroup(**values)
