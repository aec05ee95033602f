"""A pool whose Postgres is gone without a word, as in a failover, finds the one that is there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest

from schema.errors import Unavailable
from schema.store import pool as module
from schema.store.link import Pool
from schema.store.pool import open_pool, reachable
from tests.listener import HOST
from tests.passage import Passage

MUCH = bytes(24_000_000)  # more than the system holds of what nobody reads
SOON_S = 10.0  # less than the time of a statement


@asynccontextmanager
async def far_pool(database: str) -> AsyncIterator[tuple[Pool, Passage]]:
    """Lend a pool that reaches Postgres by TCP, and the way there."""
    near = urlsplit(database)
    (directory,) = parse_qs(near.query)["host"]
    way = Passage(lambda: asyncio.open_unix_connection(f"{directory}/.s.PGSQL.5432"))
    async with way:
        url = f"postgresql://{near.username}@{HOST}:{way.port}{near.path}"
        pool = await open_pool(url, size=1)
        try:
            yield pool, way
        finally:
            pool.terminate()


async def size_of(pool: Pool, sent: bytes) -> int:
    async with reachable(), pool.acquire() as link:
        return int(await link.fetchval("SELECT length($1::bytea)", sent))


async def test_a_connection_whose_other_side_is_silent_ends_and_the_next_one_serves(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 1)

    async with far_pool(database) as (pool, way), asyncio.timeout(SOON_S):
        assert await size_of(pool, b"12") == 2
        way.hang()
        with pytest.raises(Unavailable):
            await size_of(pool, MUCH)

        assert await size_of(pool, MUCH) == len(MUCH)


async def test_a_connection_that_is_not_used_is_asked_whether_its_other_side_is_there(
    database: str,
) -> None:
    async with far_pool(database) as (pool, _), pool.acquire() as link:
        used = link._con._transport.get_extra_info("socket")

        assert used.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert used.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) <= module.SILENT_S
