"""Postgres reads array literals back as the values they were written from."""

import math
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schema.store.columns import idents, numbers, texts, times
from schema.store.link import Pool

AWKWARD = [
    "",
    " ",
    " a ",
    "NULL",
    "null",
    '"NULL"',
    '"',
    '""',
    "'",
    "\\",
    "\\\\",
    '\\"',
    "\\N",
    "{",
    "}",
    "{}",
    "{NULL}",
    ",",
    "a,b",
    ";",
    "$1",
    "\n",
    "a\n",
    "\r\n\t\v\f",
    "\x01\x7f",
    "\u00a0",
    "\u0085\u2028",
    "ä€𝄞",
    "👩‍👩‍👧",
    "\u202eright to left",
    "e\u0301",
    "x" * 100_000,
]
AT = datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=UTC)
# Postgres has no NUL in a text, and UTF-8 has no surrogates.
storable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
biting = st.text(st.sampled_from('\\"{},NUL nul\n'), max_size=8)
columns = st.lists(st.lists(storable | biting | st.none(), max_size=20), min_size=50, max_size=50)


async def test_awkward_texts_come_back_as_they_were(pool: Pool) -> None:
    values = [*AWKWARD, None]

    read = await pool.fetchval("SELECT $1::text::text[]", texts(values))

    assert read == values


async def test_any_texts_come_back_as_they_were(pool: Pool) -> None:
    read: list[list[list[str | None]]] = []
    written: list[list[list[str | None]]] = []

    @settings(max_examples=20, suppress_health_check=list(HealthCheck), database=None)
    @given(columns)
    def draw(drawn: list[list[str | None]]) -> None:
        written.append(drawn)

    draw()
    for drawn in written:
        literals = [texts(column) for column in drawn]
        rows = await pool.fetch("SELECT c::text[] AS c FROM unnest($1::text[]) AS c", literals)
        read.append([row["c"] for row in rows])

    assert read == written


async def test_ids_come_back_as_they_were(pool: Pool) -> None:
    values = ["msg_0ujtsYcgvSTl8PAuAdqWYSMnLOv", "delivered", "0"]

    assert await pool.fetchval("SELECT $1::text::text[]", idents(values)) == values


async def test_numbers_come_back_as_they_were(pool: Pool) -> None:
    whole = [0, -1, 2**63 - 1, -(2**63), None]
    reals = [0.1, -2.5e-300, 1.7976931348623157e308, math.inf, 5e-324, None]
    truths = [True, False, None]

    assert await pool.fetchval("SELECT $1::text::bigint[]", numbers(whole)) == whole
    assert await pool.fetchval("SELECT $1::text::float8[]", numbers(reals)) == reals
    assert await pool.fetchval("SELECT $1::text::boolean[]", numbers(truths)) == truths


async def test_times_come_back_as_they_were(pool: Pool) -> None:
    east = timezone(timedelta(hours=14))
    values = [AT, AT.replace(microsecond=0), AT.astimezone(east), datetime.min.replace(tzinfo=UTC)]
    literal = times([*values, None])

    assert await pool.fetchval("SELECT $1::text::timestamptz[]", literal) == [*values, None]
