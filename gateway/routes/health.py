"""Whether the gateway and what it stands on are well: `/api/v1/health`. Takes no key."""

import asyncio
from typing import Final

import asyncpg
import nats.errors
from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer, nothing
from gateway.parts import Parts, parts
from gateway.routing import AnyOperation, OpenOperation
from schema.errors import HooklineError

_PATIENCE_S: Final = 2
_WELL: Final = {"status": "ok"}
_AWAY: Final = 503


def routes() -> list[AnyOperation]:
    """List the operations on health."""
    return [
        OpenOperation(method="GET", path="/api/v1/health", handler=health),
        OpenOperation(method="GET", path="/api/v1/health/ping", handler=ping),
    ]


async def ping(_request: Request) -> Response:
    """Say that the process answers."""
    return nothing()


async def health(request: Request) -> Response:
    """Ask Postgres and NATS for a sign of life, each for two seconds at most."""
    given = parts(request)
    database, queue = await asyncio.gather(_database(given), _queue(given))
    cache = _WELL if given.apps.cache.hears else {"status": "error", "detail": "not listening"}
    well = database is _WELL and queue is _WELL
    shown = {"database": database, "queue": queue, "cache": cache}
    return answer(shown, 200 if well else _AWAY)


async def _database(given: Parts) -> dict[str, str]:
    try:
        async with asyncio.timeout(_PATIENCE_S), given.connection() as link:
            await link.execute("SELECT 1")
    except (HooklineError, TimeoutError, asyncpg.PostgresError):
        return {"status": "error", "detail": "Postgres does not answer"}
    return _WELL


async def _queue(given: Parts) -> dict[str, str]:
    try:
        if given.bus.is_connected:
            await given.bus.flush(timeout=_PATIENCE_S)
            return _WELL
    except (nats.errors.Error, TimeoutError, OSError, ValueError):
        pass
    return {"status": "error", "detail": "NATS does not answer"}
