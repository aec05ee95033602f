"""The gateway as one ASGI application."""

import logging
import signal
from asyncio import TaskGroup
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime

from nats.aio.client import Client
from starlette.applications import Starlette
from starlette.types import Receive, Scope, Send

from gateway import metrics as scrape
from gateway.appbook import AppBook
from gateway.awaited import Awaited
from gateway.catalogue import Catalogue
from gateway.config import GatewayConfig
from gateway.horizon import Horizon
from gateway.keyring import KeyRing
from gateway.limits import Limits
from gateway.listen import Listener
from gateway.middleware import Doorway
from gateway.parts import Parts
from gateway.publish import Publisher
from gateway.routes import (
    alert_email,
    alert_rule,
    app_stats,
    application,
    attempt,
    auth,
    auto_config,
    background_task,
    broadcast,
    bulk,
    dead_letter,
    dead_letter_export,
    dead_letter_group,
    dead_letter_task,
    destination,
    docs_page,
    endpoint,
    endpoint_certificate,
    endpoint_headers,
    endpoint_health,
    endpoint_oauth,
    endpoint_secret,
    endpoint_sending,
    endpoint_stats,
    endpoint_test,
    environment,
    environment_export,
    environment_settings,
    event_stream,
    event_type,
    event_type_export,
    event_type_import,
    group_admin,
    health,
    integration,
    key,
    message,
    message_content,
    message_search,
    openapi,
    operational_webhook,
    otel,
    poller,
    poller_key,
    poller_lease,
    portal_access,
    reconciliation,
    rejected_event,
    retry_schedule,
    schema_fault,
    statistics,
    task,
    transformation,
)
from gateway.routing import AnyOperation, build
from gateway.slices import Slices
from schema.store.link import Pool
from signer.vault import Vault
from transformer import call as transformer
from transformer.sandbox import Sandbox

_log = logging.getLogger(__name__)


class Gateway(Starlette):
    """Starlette for the life of the process; requests go straight to the operations."""

    def __init__(
        self, parts: Parts, lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]]
    ) -> None:
        """Serve all operations with these parts."""
        super().__init__(lifespan=lifespan)
        self.state.parts = parts
        self._doorway = Doorway(build(operations()), parts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request, or the beginning and end of the process."""
        if scope["type"] == "http":
            await self._doorway(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


def create_app(
    *,
    pool: Pool,
    bus: Client,
    vault: Vault,
    clock: Callable[[], datetime],
    config: GatewayConfig,
    metrics: scrape.Metrics | None = None,
) -> Gateway:
    """Put a gateway together; what it is given stays the caller's to close."""
    publisher = Publisher(bus, stream=config.stream, metrics=metrics)
    keys, apps = KeyRing(pool, config, clock), AppBook(pool, config)
    catalogue = Catalogue(pool, config, clock=clock, metrics=publisher.metrics)
    parts = Parts(
        pool=pool,
        bus=bus,
        vault=vault,
        clock=clock,
        config=config,
        publisher=publisher,
        keys=keys,
        apps=apps,
        catalogue=catalogue,
        limits=Limits(pool, config),
        awaited=Awaited(bus, config),
        sandbox=_sandbox(config),
        listener=Listener(pool, keys=keys, apps=apps, catalogue=catalogue),
        slices=Slices(),
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

    return Gateway(parts, lifespan)


def _sandbox(config: GatewayConfig) -> Sandbox:
    return Sandbox(
        transformer.Limits(
            time_s=config.transformation_time_s,
            memory_bytes=config.transformation_memory_bytes,
            result_bytes=config.max_payload_bytes,
            waiting=transformation.MOST_WAITING,
        )
    )


def operations() -> list[AnyOperation]:
    """List all that the API does."""
    horizon = Horizon()
    served = [
        *message.routes(),
        *message_content.routes(),
        *message_search.routes(),
        *event_stream.routes(horizon),
        *bulk.routes(),
        *broadcast.routes(),
        *application.routes(),
        *endpoint.routes(),
        *endpoint_secret.routes(),
        *auto_config.routes(),
        *endpoint_headers.routes(),
        *endpoint_certificate.routes(),
        *endpoint_oauth.routes(),
        *endpoint_stats.routes(),
        *endpoint_sending.routes(),
        *endpoint_test.routes(),
        *endpoint_health.routes(),
        *transformation.routes(),
        *event_type.routes(),
        *event_type_import.routes(),
        *event_type_export.routes(),
        *retry_schedule.routes(),
        *schema_fault.routes(),
        *environment.routes(),
        *environment_settings.routes(),
        *otel.routes(),
        *environment_export.routes(),
        *key.routes(),
        *group_admin.routes(),
        *auth.routes(),
        *portal_access.routes(),
        *integration.routes(),
        *attempt.routes(),
        *destination.routes(),
        *poller.routes(horizon),
        *poller_lease.routes(horizon),
        *poller_key.routes(),
        *dead_letter.routes(),
        *dead_letter_export.routes(),
        *dead_letter_group.routes(),
        *dead_letter_task.routes(),
        *task.routes(),
        *background_task.routes(),
        *statistics.routes(),
        *app_stats.routes(),
        *rejected_event.routes(),
        *operational_webhook.routes(),
        *alert_email.routes(),
        *alert_rule.routes(),
        *reconciliation.routes(),
        *health.routes(),
        *scrape.routes(),
    ]
    return [*served, *openapi.routes(served), *docs_page.routes()]


@asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[None]:
    """Keep going what runs beside the requests, and end it in order."""
    async with parts.publisher, TaskGroup() as group:
        tasks = [
            group.create_task(work)
            for work in (
                parts.listener.run(),
                parts.keys.run(),
                parts.limits.run(),
                parts.catalogue.run(),
                parts.sandbox.run(),
            )
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
