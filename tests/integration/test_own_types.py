"""What a connection asks Postgres about types, and what it knows from others."""

import asyncpg
import pytest
from asyncpg.connection import LoggedQuery

from schema.store import own_types
from schema.store.pool import prepare_connection

ARRAYS = "SELECT $1::bigint[], $2::jsonb[], $3::timestamptz[]"
GIVEN = ([1, 2], [{"a": [1]}, None], [])


class Asking:
    """A connection as a pool opens it, and how often it asked what types are."""

    def __init__(self, link: own_types.Connection) -> None:
        self.link = link
        self.times = 0
        link.add_query_logger(self._count)

    def _count(self, query: LoggedQuery) -> None:
        self.times += "typeinfo" in query.query


async def opened(database: str) -> Asking:
    link = await asyncpg.connect(database, connection_class=own_types.Connection)
    await prepare_connection(link)
    return Asking(link)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_types, "_known", {})


async def test_what_one_connection_was_told_of_types_no_other_asks(database: str) -> None:
    first, second = await opened(database), await opened(database)
    try:
        for asking, times in ((first, 1), (second, 0)):
            assert tuple(await asking.link.fetchrow(ARRAYS, *GIVEN)) == GIVEN
            assert tuple(await asking.link.fetchrow(f"{ARRAYS}, 1", *GIVEN)) == (*GIVEN, 1)

            assert asking.times == times
    finally:
        await first.link.close()
        await second.link.close()


async def test_a_type_that_somebody_made_is_asked_for_by_each(database: str) -> None:
    """It may be another one in another database, or tomorrow."""
    first, second = await opened(database), await opened(database)
    try:
        await first.link.execute("CREATE TYPE colour AS ENUM ('red', 'blue')")
        for asking in (first, second):
            assert await asking.link.fetchval("SELECT $1::colour[]", ["blue"]) == ["blue"]

            assert asking.times == 1
    finally:
        await first.link.close()
        await second.link.close()
