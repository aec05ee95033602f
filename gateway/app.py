"""The gateway as one ASGI application."""

import logging
import signal
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final

from nats.aio.client import Client
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from gateway import metrics as scrape
from gateway.appbook import AppBook
from gateway.config import GatewayConfig
from gateway.keyring import KeyRing
from gateway.listen import Listener
from gateway.middleware import REQUEST_ID, Doorway
from gateway.parts import Parts
from gateway.problems import on_http_error
from gateway.publish import Publisher
from gateway.routes import (
    application,
    attempt,
    auth,
    dead_letter,
    destination,
    endpoint,
    endpoint_headers,
    endpoint_secret,
    endpoint_stats,
    environment,
    event_type,
    health,
    key,
    message,
    rejected_event,
)
from gateway.routing import AnyOperation, build
from schema.store.link import Pool
from signer.vault import Vault

_CORS_MAX_AGE_S: Final = 600
_log = logging.getLogger(__name__)


def create_app(
    *,
    pool: Pool,
    bus: Client,
    vault: Vault,
    clock: Callable[[], datetime],
    config: GatewayConfig,
    metrics: scrape.Metrics | None = None,
) -> Starlette:
    """Put a gateway together; what it is given stays the caller's to close."""
    parts = Parts(
        pool=pool,
        bus=bus,
        vault=vault,
        clock=clock,
        config=config,
        publisher=Publisher(bus, stream=config.stream, metrics=metrics),
        keys=KeyRing(pool, config, clock),
        apps=AppBook(pool, config),
    )

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            async with running(parts):
                yield
        except* Exception:
            # The server would go on with half a gateway; whoever supervises starts a whole one.
            _log.critical("the gateway cannot go on", exc_info=True)
            signal.raise_signal(signal.SIGTERM)
            raise

    app = Starlette(
        routes=build(operations()),
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=[REQUEST_ID, "retry-after"],
                max_age=_CORS_MAX_AGE_S,
            ),
            Middleware(Doorway),
        ],
        exception_handlers={HTTPException: on_http_error},
        lifespan=lifespan,
    )
    app.state.parts = parts
    return app


def operations() -> list[AnyOperation]:
    """List all that the API does; the busiest paths first, as they are tried in this order."""
    return [
        *message.routes(),
        *application.routes(),
        *endpoint.routes(),
        *endpoint_secret.routes(),
        *endpoint_headers.routes(),
        *endpoint_stats.routes(),
        *event_type.routes(),
        *environment.routes(),
        *key.routes(),
        *auth.routes(),
        *attempt.routes(),
        *destination.routes(),
        *dead_letter.routes(),
        *rejected_event.routes(),
        *health.routes(),
        *scrape.routes(),
    ]


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Keep going what runs beside the requests, and end it in order."""
    listener = Listener(parts.pool, keys=parts.keys, apps=parts.apps)
    async with parts.publisher, TaskGroup() as group:
        tasks = [group.create_task(work) for work in (listener.run(), parts.keys.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
