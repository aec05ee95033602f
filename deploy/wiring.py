"""Makes a gateway or a dispatcher of settings, and runs it until it is told to stop.

The only place that knows how the parts are put together, and where clock and dice come from.
"""

import asyncio
import gc
import logging
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from deploy.clock import now
from deploy.connections import connected_bus, connected_pool, connection, open_vault
from deploy.faults import StartFault
from deploy.ports import claim
from deploy.settings import Settings
from deploy.telemetry import serve_metrics, shown_registry
from dispatcher.config import DispatcherConfig
from dispatcher.egress import read_proxy
from dispatcher.mail import read_server
from gateway.config import GatewayConfig
from gateway.svix_token import TokenRules, read_rules
from schema.address import AddressPolicy
from schema.migrate import missing
from schema.retry import RetryPolicy
from schema.store import shard
from schema.store.link import Pool
from signer.vault import Vault

# A batch makes thousands of objects at once and holds no circles: an eighth of all CPU was looking.
_log = logging.getLogger(__name__)
_GC_THRESHOLDS: Final = (50_000, 20, 100)
_TEST_SLACK_S: Final = 5.0  # of a test beside its attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every process stands on."""

    pool: Pool
    bus: Client
    vault: Vault
    shards: int  # as many as the database was made with


@asynccontextmanager
async def open_parts(
    settings: Settings, *, name: str, pool_size: int, batches: bool = False
) -> AsyncIterator[Parts]:
    """Open what every process stands on; `batches` as `schema.store.pool.open_pool` has it.

    Raises:
        StartFault: Something does not answer, or the database is not migrated.
    """
    vault = open_vault(settings)
    async with connection(settings) as link:
        lacking = await missing(link)
        if lacking:
            raise StartFault(f"the database lacks {lacking[-1]}: run `hookline migrate`")
        shards = await shard.count(link)
    async with (
        connected_pool(settings, size=pool_size, batches=batches) as pool,
        connected_bus(settings, name=name) as bus,
    ):
        yield Parts(pool=pool, bus=bus, vault=vault, shards=shards)


async def run_gateway(settings: Settings, *, name: str, shared_port: bool) -> None:
    """Serve the API until SIGTERM or SIGINT; requests under way are finished first.

    Args:
        settings: Of this process.
        name: What the servers and the log call it.
        shared_port: Let other gateways of this machine listen on the same port.
    """
    from deploy.http_guard import HttpGuard, HttpLimits, room_for
    from deploy.http_server import Server
    from gateway.app import create_app
    from gateway.metrics import Metrics

    with claim(settings.host, settings.port, shared=shared_port) as bound:
        async with open_parts(settings, name=name, pool_size=settings.gateway_pool) as parts:
            metrics = Metrics(shown=shown_registry)
            app = create_app(
                pool=parts.pool,
                bus=parts.bus,
                vault=parts.vault,
                clock=now,
                config=gateway_config(settings, shards=parts.shards),
                metrics=metrics,
            )
            room = room_for(settings.http_connections)
            if room < settings.http_connections:
                _log.warning("the system gives files for %d connections alone", room)
            limits = HttpLimits(
                head_s=settings.http_head_s, stall_s=settings.http_stall_s, connections=room
            )
            guard = HttpGuard(limits, count=lambda why: metrics.cut.labels(why).inc())
            server = Server(app, drain_s=settings.drain_s, guard=guard)
            _collect_seldom()
            with _on_stop(server.end):
                await server.serve_on(bound)


async def run_dispatcher(settings: Settings, *, name: str, ready_file: Path | None) -> None:
    """Deliver until SIGTERM or SIGINT; what is in flight is finished and settled first.

    Args:
        settings: Of this process.
        name: Holds the leases: no two dispatchers of an installation may share one.
        ready_file: Gets our process id once everything is connected.
    """
    from dispatcher.metrics import Metrics
    from dispatcher.parts import Parts
    from dispatcher.service import Dispatcher

    stop, registry = asyncio.Event(), CollectorRegistry()
    async with open_parts(
        settings, name=name, pool_size=settings.dispatcher_pool, batches=True
    ) as parts:
        dispatcher = Dispatcher(
            Parts(
                pool=parts.pool,
                bus=parts.bus,
                vault=parts.vault,
                clock=now,
                dice=random.random,
                config=dispatcher_config(settings, name=name),
                metrics=Metrics(registry),
                shards=parts.shards,
            )
        )
        with _on_stop(stop.set), serve_metrics(settings.host, settings.metrics_port, registry):
            _collect_seldom()
            _mark(ready_file)
            await dispatcher.run(stop)


def _collect_seldom() -> None:
    """Look for garbage in circles less often, and not among what was there at the start."""
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def gateway_config(settings: Settings, *, shards: int) -> GatewayConfig:
    """Choose what a gateway needs to know."""
    return GatewayConfig(
        shards=shards,
        public_url=settings.public_url,
        tokens=token_rules(settings),
        max_payload_bytes=settings.max_payload_bytes,
        max_bulk_bytes=settings.max_bulk_bytes,
        app_events_per_s=settings.app_events_per_s,
        app_backlog=settings.app_backlog,
        poll_margin_s=settings.poll_margin_s,
        test_wait_s=settings.request_timeout + _TEST_SLACK_S,
        tests=settings.tests,
        app_tests=settings.app_tests,
        svix_headers=settings.svix_headers,
        transformation_time_s=settings.transformation_time_s,
        transformation_memory_bytes=settings.transformation_memory_bytes,
        https_only=settings.https_only,
        allowed_networks=settings.allowed_networks,
        mails=settings.smtp_url is not None,
        disable_after_days=settings.disable_after_days,
        disable_warning_days=settings.disable_warning_days,
    )


def token_rules(settings: Settings) -> TokenRules | None:
    """Say what Svix's tokens are signed with, if they count."""
    secret = settings.jwt_secret
    return read_rules(settings.jwt_algorithm, secret.reveal()) if secret else None


def dispatcher_config(settings: Settings, *, name: str) -> DispatcherConfig:
    """Choose what a dispatcher needs to know."""
    proxy, smtp = settings.egress_proxy, settings.smtp_url
    return DispatcherConfig(
        name=name,
        max_payload_bytes=settings.max_payload_bytes,
        retry_policy=RetryPolicy(waits_s=settings.retry_schedule),
        retry_jitter=settings.retry_jitter,
        request_timeout_s=settings.request_timeout,
        address_policy=AddressPolicy(
            allowed_networks=settings.allowed_networks, https_only=settings.https_only
        ),
        egress_proxy=read_proxy(proxy.reveal()) if proxy else None,
        svix_headers=settings.svix_headers,
        response_kept_bytes=settings.response_kept_bytes,
        transformation_time_s=settings.transformation_time_s,
        transformation_memory_bytes=settings.transformation_memory_bytes,
        transformers=settings.transformers,
        process_in_flight=settings.in_flight,
        app_in_flight=max(1, round(settings.in_flight * settings.app_share)),
        endpoint_in_flight=settings.endpoint_in_flight,
        failing_after=settings.failing_after,
        probe_gap_s=settings.probe_gap_s,
        probe_gap_most_s=settings.probe_gap_most_s,
        flood_rest=settings.flood_rest,
        lane_depth=settings.lane_depth,
        lease_s=settings.lease_s,
        drain_s=settings.drain_s,
        retention_days=settings.retention_days,
        dead_letter_retention_days=settings.dead_letter_retention_days,
        counted_types=settings.counted_types,
        operational_per_minute=settings.operational_per_minute,
        attempt_log_s=settings.attempt_log_s,
        otel_s=settings.otel_s,
        otel_waiting=settings.otel_waiting,
        mail=read_server(smtp.reveal(), sender=settings.mail_from) if smtp else None,
        mail_pause_s=settings.mail_pause_s,
        alert_update_s=settings.alert_update_s,
        disable_after_days=settings.disable_after_days,
        disable_warning_days=settings.disable_warning_days,
    )


def _mark(ready_file: Path | None) -> None:
    if ready_file:
        ready_file.write_text(str(os.getpid()))


@contextmanager
def _on_stop(call: Callable[[], None]) -> Iterator[None]:
    """Call back on SIGTERM and SIGINT."""
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)
    for one in wanted:
        loop.add_signal_handler(one, call)
    try:
        yield
    finally:
        for one in wanted:
            loop.remove_signal_handler(one)
