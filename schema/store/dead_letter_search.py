"""Finds dead letters: pages, counts and whole rows of those that a filter means.

Statements are made of the filter, so that each is planned for what it asks. First the ids are found
in one of two wide indexes, which hold all that a filter may ask about but `text` and `path`
(dead_letter_state_idx for an app, dead_letter_environment_idx for more); a branch for each state,
so that rows come in order. Then their rows are read by dead_letter_pkey.

What must look into rows (`text`, `path`) looks into `SCAN` of them at most and says how far it
came: a page may be short, or empty, though there is more.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import asyncpg

from schema.dead_letter import DeadLetter
from schema.store.dead_letter import Filter, noun
from schema.store.link import Link
from schema.store.span import Span

SCAN: Final = 1_000  # rows that a page looks into
TIMEOUT_S: Final = 2.0  # of a statement
_FIRST_LOOK: Final = 200  # most that is looked for is common
_BUDGET_S: Final = 1.0  # of a count that looks into rows
_SEEN: Final = frozenset({"seen", "seen_to"})
_END: Final = {"ASC": "max", "DESC": "min"}  # which id is the last of a scan
_LIST: Final = """l.environment_id, l.app_id, l.id, l.message_id, l.endpoint_id, l.state, l.reason,
    l.event_type, l.event_id, l.channels, {payload}, octet_length(l.payload) AS payload_bytes,
    l.content_type, NULL::bytea AS headers, l.url, l.status, l.fault, l.detail, {response},
    l.error_class, l.fingerprint, l.group_id, l.attempts, l.message_at, l.first_attempt_at,
    l.last_attempt_at, l.last_attempt_id, l.parked_at, l.updated_at"""
_PARTLY: Final = _LIST.format(
    payload="NULL::bytea AS payload",
    response="NULL::bytea AS response, NULL::jsonb AS response_headers",
)
_SUMS: Final = """count(*) AS letters, count(*) FILTER (WHERE l.state = 'redelivering') AS on_way,
    count(*) FILTER (WHERE l.state NOT IN ('parked', 'redelivering')) AS elsewhere,
    count(*) FILTER (WHERE l.state <> 'redelivering' AND l.payload IS NULL) AS expunged,
    coalesce(sum(octet_length(l.payload)), 0)::bigint AS size_bytes,
    min(l.parked_at) AS oldest_at"""
_WHOLE: Final = _LIST.format(payload="l.payload", response="l.response, l.response_headers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page, in the order of the scan; `stopped_at` is the id behind which was not looked."""

    letters: Sequence[DeadLetter]
    stopped_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many there are; or, if not `exact`, that there are so many or more."""

    number: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """Letters of one endpoint, among those of a stretch; `on_way` are under redelivery."""

    app_id: str
    endpoint_id: str
    letters: int
    on_way: int
    elsewhere: int
    expunged: int
    size_bytes: int
    oldest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """The lots of a stretch; `stopped_at` is the id behind which was not looked."""

    lots: Sequence[Lot]
    stopped_at: str | None


class _Query:
    """The conditions of a filter, and the values that they ask for."""

    def __init__(self, wanted: Filter, low: str, high: str) -> None:
        """Begin with what every statement asks for."""
        self.values: list[object] = []
        most = max(low, wanted.bounds[0]), min(high, wanted.bounds[1])
        self.scope = [*self._scope(wanted), *self._range(*most)]
        self.narrow = self._narrow(wanted)
        self.deep = self._deep(wanted)
        self.states = tuple(dict.fromkeys(wanted.states))

    def value(self, value: object, kind: str) -> str:
        """Add a value; give what stands for it."""
        self.values.append(value)
        return f"${len(self.values)}::{kind}"

    def one_of(self, column: str, values: Sequence[str]) -> str:
        """Write that a column has one of some values; one alone may choose the index."""
        if len(values) == 1:
            return f"{column} = {self.value(values[0], 'text')}"
        return f"{column} = ANY ({self.value(list(values), 'text[]')})"

    def where(self, states: str) -> str:
        """Write the conditions that the indexes alone can tell, with one on the state."""
        return " AND ".join([*self.scope, states, *self.narrow])

    def candidates(self, way: str, limit: int) -> str:
        """Write a query for the ids of up to `limit` letters, in order, by the indexes alone."""
        most = self.value(limit, "int")
        wheres = [self.where(f"state = {self.value(state, 'text')}") for state in self.states]
        branches = [
            f"(SELECT app_id, id FROM dead_letter WHERE {where} ORDER BY id {way} LIMIT {most})"  # noqa: S608 - values stand apart
            for where in wheres
        ]
        if len(branches) == 1:
            return branches[0]
        return f"{' UNION ALL '.join(branches)} ORDER BY id {way} LIMIT {most}"

    def _scope(self, wanted: Filter) -> list[str]:
        apps = wanted.app_ids
        if apps is not None and len(apps) == 1:
            return [f"app_id = {self.value(apps[0], 'text')}"]
        scope = [f"environment_id = {self.value(wanted.environment_id, 'text')}"]
        return scope if apps is None else [*scope, self.one_of("app_id", apps)]

    def _range(self, low: str, high: str) -> list[str]:
        return [f"id > {self.value(low, 'text')}", f"id < {self.value(high, 'text')}"]

    def _narrow(self, wanted: Filter) -> list[str]:
        conditions = [
            self.one_of(column, values)
            for column, values in (
                ("endpoint_id", wanted.endpoint_ids),
                ("group_id", wanted.group_ids),
                ("event_type", wanted.event_types),
                ("reason", wanted.reasons),
                ("error_class", wanted.error_classes),
                ("fault", None if wanted.fault is None else (wanted.fault,)),
            )
            if values is not None
        ]
        if wanted.statuses is not None:
            least, most = (self.value(status, "int") for status in wanted.statuses)
            conditions.append(f"coalesce(status, 0) BETWEEN {least} AND {most}")
        if wanted.least_attempts is not None:
            conditions.append(f"attempts >= {self.value(wanted.least_attempts, 'int')}")
        if wanted.most_attempts is not None:
            conditions.append(f"attempts <= {self.value(wanted.most_attempts, 'int')}")
        return conditions

    def _deep(self, wanted: Filter) -> str:
        conditions = []
        if wanted.text is not None:
            text = f"lower({self.value(wanted.text, 'text')})"
            conditions.append(
                f"(position({text} IN lower(text_of(l.response))) > 0"
                f" OR position({text} IN lower(l.detail)) > 0)"
            )
        if wanted.path is not None:
            path = f"{self.value(wanted.path, 'text')}::jsonpath"
            # In the first place what it yields; a predicate yields true, false or null.
            first = f"jsonb_path_query_first(json_of(l.payload), {path}, silent => true)"
            conditions.append(f"coalesce({first} NOT IN ('null', 'false'), false)")
        return " AND ".join(conditions)


async def page(link: Link, wanted: Filter, span: Span) -> Found:
    """Give letters without payload and response, in the direction of the scan.

    Raises:
        TimeoutError: It takes too long.
    """
    if wanted.is_deep:
        return await _deep_page(link, wanted, span)
    query, way = _Query(wanted, span.low, span.high), _way(up=span.up)
    rows = await link.fetch(
        f"""WITH c AS MATERIALIZED ({query.candidates(way, span.limit)})
            SELECT {_PARTLY} FROM c JOIN dead_letter AS l ON l.app_id = c.app_id AND l.id = c.id
            ORDER BY l.id {way}""",  # noqa: S608 - values stand apart
        *query.values,
        timeout=TIMEOUT_S,
    )
    return Found(letters=[noun(row) for row in rows])


async def count(link: Link, wanted: Filter, limit: int) -> Count:
    """Count letters up to a limit; those that must be looked into, for a second at most.

    Raises:
        TimeoutError: It takes too long.
    """
    if wanted.is_deep:
        return await _deep_count(link, wanted, limit)
    query = _Query(wanted, *wanted.bounds)
    where = query.where(f"state = ANY ({query.value(list(query.states), 'text[]')})")
    number: int = await link.fetchval(
        f"SELECT count(*) FROM (SELECT FROM dead_letter WHERE {where}"  # noqa: S608 - as above
        f" LIMIT {query.value(limit + 1, 'int')}) AS c",
        *query.values,
        timeout=TIMEOUT_S,
    )
    return Count(number=min(number, limit), exact=number <= limit)


async def tally(link: Link, wanted: Filter, *, behind: str, most: int) -> Tally:
    """Add up the letters of a stretch of ids by endpoint, looking at up to `most`, oldest first.

    Raises:
        TimeoutError: It takes too long.
    """
    low, high = wanted.bounds
    query = _Query(wanted, max(low, behind), high)
    rows = await link.fetch(
        f"""WITH c AS MATERIALIZED ({query.candidates("ASC", most)}),
            lot AS (SELECT l.app_id, l.endpoint_id, {_SUMS} FROM c
                    JOIN dead_letter AS l ON l.app_id = c.app_id AND l.id = c.id
                    WHERE {query.deep or "true"} GROUP BY l.app_id, l.endpoint_id)
            SELECT edge.*, lot.* FROM (SELECT count(*) AS seen, max(id) AS seen_to FROM c) AS edge
            LEFT JOIN lot ON true""",  # noqa: S608 - values stand apart
        *query.values,
        timeout=TIMEOUT_S,
    )
    lots = [lot(row) for row in rows if row["app_id"] is not None]
    return Tally(lots=lots, stopped_at=rows[0]["seen_to"] if rows[0]["seen"] == most else None)


async def whole(link: Link, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Give letters with payload and response, oldest first; those that are gone are left out."""
    rows = await link.fetch(
        f"""SELECT {_WHOLE} FROM unnest($1::text[], $2::text[]) AS c(app_id, id)
            JOIN dead_letter AS l ON l.app_id = c.app_id AND l.id = c.id
            ORDER BY l.id""",  # noqa: S608 - values stand apart
        [letter.app_id for letter in letters],
        [letter.id for letter in letters],
    )
    return [noun(row) for row in rows]


def lot(row: "asyncpg.Record") -> Lot:
    """Make a lot of a row with its columns."""
    return Lot(**{name: value for name, value in row.items() if name not in _SEEN})


async def path_fault(link: Link, path: str) -> str | None:
    """Say what is wrong with a JSON path, and where; None if nothing is."""
    said: str | None = await link.fetchval(
        "SELECT message FROM pg_input_error_info($1, 'jsonpath')", path
    )
    return said


async def _deep_page(link: Link, wanted: Filter, span: Span) -> Found:
    letters: list[DeadLetter] = []
    for most in (_FIRST_LOOK, SCAN - _FIRST_LOOK):
        query, way = _Query(wanted, span.low, span.high), _way(up=span.up)
        rows = await link.fetch(
            f"""WITH c AS MATERIALIZED ({query.candidates(way, most)}),
                edge AS (SELECT count(*) AS number, {_END[way]}(id) AS last FROM c),
                hit AS (SELECT {_PARTLY} FROM c
                        JOIN dead_letter AS l ON l.app_id = c.app_id AND l.id = c.id
                        WHERE {query.deep} ORDER BY l.id {way}
                        LIMIT {query.value(span.limit - len(letters), "int")})
                SELECT edge.number AS seen, edge.last AS seen_to, hit.*
                FROM edge LEFT JOIN hit ON true ORDER BY hit.id {way}""",  # noqa: S608 - as above
            *query.values,
            timeout=TIMEOUT_S,
        )
        seen, last = rows[0]["seen"], rows[0]["seen_to"]
        letters += [noun(row, leave=_SEEN) for row in rows if row["id"] is not None]
        if len(letters) >= span.limit or seen < most:
            return Found(letters=letters)
        span = replace(span, low=last) if span.up else replace(span, high=last)
    return Found(letters=letters, stopped_at=last)


async def _deep_count(link: Link, wanted: Filter, limit: int) -> Count:
    low, high = wanted.bounds
    number, until_s = 0, time.monotonic() + _BUDGET_S
    while number <= limit and time.monotonic() < until_s:
        query = _Query(wanted, low, high)
        row = await link.fetchrow(
            f"""WITH c AS MATERIALIZED ({query.candidates("ASC", SCAN)})
                SELECT (SELECT count(*) FROM c
                        JOIN dead_letter AS l ON l.app_id = c.app_id AND l.id = c.id
                        WHERE {query.deep}) AS found, count(*) AS seen, max(id) AS seen_to
                FROM c""",  # noqa: S608 - values stand apart
            *query.values,
            timeout=TIMEOUT_S,
        )
        if row is None:  # an aggregate always gives one
            break
        number += row["found"]
        if row["seen"] < SCAN:
            return Count(number=min(number, limit), exact=number <= limit)
        low = row["seen_to"]
    return Count(number=min(number, limit), exact=False)


def _way(*, up: bool) -> str:
    return "ASC" if up else "DESC"
