"""How a pool of connections is opened: types, caches, and errors translated once."""

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
    """Teach a connection jsonb."""
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        encoder=lambda value: _JSONB_VERSION + orjson.dumps(value),
        decoder=lambda stored: orjson.loads(stored[1:]),
        format="binary",
    )


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
