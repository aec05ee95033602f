"""How a pool of connections is opened: types, caches, and errors translated once."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import orjson

from schema.errors import Unavailable
from schema.store.own_types import Connection

STATEMENT_TIMEOUT_S = 30.0
# What a row can be refused for; whatever else Postgres says is not the row's fault.
REFUSALS: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,
)
SILENT_S = 15  # who does not even acknowledge what is sent to him for so long is gone
_ASKED_EVERY_S = 5  # while nothing is sent
_CACHED_STATEMENTS = 512
_JSONB_VERSION = b"\x01"  # leads the binary form
_SETTINGS = {"jit": "off"}  # compiling a plan costs more than our statements do
# A batch's statements have one good plan each, by index, however large the batch and whatever the
# last ANALYZE saw: a partition may have been empty a minute ago.
_BATCH_SETTINGS = _SETTINGS | {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    "enable_bitmapscan": "off",
}


async def open_pool(
    dsn: str, *, size: int, batches: bool = False
) -> "asyncpg.Pool[asyncpg.Record]":
    """Open a pool whose connections read and write jsonb as Python values.

    Args:
        dsn: A libpq URL.
        size: The most connections; one is opened at once.
        batches: For a process whose statements are few and take whole batches.
    """
    return await asyncpg.create_pool(
        dsn,
        min_size=1,
        max_size=size,
        connection_class=Connection,
        init=prepare_connection,
        reset=_leave,
        statement_cache_size=_CACHED_STATEMENTS,
        command_timeout=STATEMENT_TIMEOUT_S,
        server_settings=_BATCH_SETTINGS if batches else _SETTINGS,
    )


async def prepare_connection(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Teach a connection jsonb, and to end when Postgres is gone without a word."""
    _heed_silence(connection)
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: _JSONB_VERSION + orjson.dumps(value),
        decoder=lambda stored: orjson.loads(stored[1:]),
        format="binary",
    )


def _heed_silence(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Have the system end a connection whose other side is silent, as after a failover.

    Until then a statement takes its whole time, and its cancellation as much again; and every
    connection of the pool is such a one, so that it happens to one statement after the other.
    """
    link = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # noqa: SLF001
    if link is None or link.family == socket.AF_UNIX:
        return
    link.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (  # those that the system has
        ("TCP_KEEPIDLE", _ASKED_EVERY_S),
        ("TCP_KEEPINTVL", _ASKED_EVERY_S),
        ("TCP_KEEPCNT", max(SILENT_S // _ASKED_EVERY_S - 1, 1)),
        ("TCP_USER_TIMEOUT", SILENT_S * 1000),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            link.setsockopt(socket.IPPROTO_TCP, option, value)


async def _leave(_: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Spare the round trip that asyncpg resets a session by: none of ours changes its session.

    Transactions that were left open are rolled back all the same.
    """


@asynccontextmanager
async def reachable() -> AsyncIterator[None]:
    """Turn what says that Postgres cannot do it now into `Unavailable`."""
    try:
        yield
    except (
        OSError,
        TimeoutError,
        asyncpg.InterfaceError,
        asyncpg.InternalClientError,  # asyncpg's word for a connection that broke at a bad moment
        asyncpg.PostgresConnectionError,
        asyncpg.OperatorInterventionError,  # shutting down, starting up, a statement cancelled
        asyncpg.InsufficientResourcesError,  # disk full, out of memory, too many connections
        asyncpg.TransactionRollbackError,  # deadlock, serialisation
        asyncpg.ReadOnlySQLTransactionError,  # a standby, while it is promoted
        asyncpg.PostgresSystemError,
    ) as error:
        part = "Postgres"
        raise Unavailable(part) from error
