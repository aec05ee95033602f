"""`hookline up`: a whole installation on one machine, from an empty directory or from its data.

In order: hold the home, keep the port, start the servers that are not given, migrate, make the
first keys, start dispatchers and gateways, say where everything is. Backwards at the end.
"""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Final

from deploy import parts
from deploy.clock import now
from deploy.connections import connection
from deploy.embedded import make_database, own_database_url, prepare_postgres
from deploy.embedded_nats import own_nats_url, prepare_nats
from deploy.home import Home, hold, write_env
from deploy.install import install
from deploy.keys import keep_operator_key, keep_vault_keys
from deploy.ports import reserve
from deploy.settings import Settings
from deploy.supervisor import Supervisor
from deploy.telemetry import forget_process, share_metrics
from deploy.values import Secret

_DEMO_WAITS_S: Final = (2.0, 4.0, 8.0)
_SPARE_SESSIONS: Final = 30
_LOOPBACK: Final = ip_network("127.0.0.0/8")

_BANNER: Final = """
Hookline is up.   API: {url}
Operator key:     {key}
Addresses:        {env}   (source it: API, NATS and Postgres)

A first event, to try in another shell:

  . {env}; key="Authorization: Bearer $(cat {key})"; json="Content-Type: application/json"
  post() {{ curl -sS -H "$key" -H "$json" "$HOOKLINE_URL/api/v1/app$1" -d "$2"; echo; }}
  post "" '{{"name": "Acme", "uid": "acme"}}'
  post /acme/endpoint '{{"uid": "first", "url": "https://example.com/webhook"}}'
  post /acme/msg '{{"eventType": "invoice.paid", "payload": {{"invoice": 1}}}}'

Ctrl-C stops everything in order.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """One run of `up`: the settings in force, and whose processes these are."""

    settings: Settings
    home: Home
    supervisor: Supervisor


async def up(settings: Settings) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP; a second one does not wait.

    Raises:
        StartFault: Something does not start; whatever ran by then was stopped.
    """
    home = Home.at(settings.home)
    with hold(home), reserve(settings.host, settings.port) as port:
        settings = _in_force(replace(settings, home=home.root, port=port), home)
        metrics = home.run / "metrics"
        supervisor = Supervisor(show=show, ended=lambda pid: forget_process(metrics, pid))
        with _stopping(supervisor), suppress(asyncio.CancelledError):
            async with supervisor:
                keep_vault_keys(settings, home)
                await _start(_Run(settings=settings, home=home, supervisor=supervisor))
                await asyncio.Event().wait()
    show("hookline: stopped")


def show(line: str) -> None:
    """Print a line; a reader that went away is no reason to stop."""
    with suppress(BrokenPipeError):
        print(line, flush=True)


async def _start(run: _Run) -> None:
    """Start everything, each on what it needs."""
    run = await _with_servers(run)
    settings, home, supervisor = run.settings, run.home, run.supervisor
    await install(settings)
    async with connection(settings) as link:
        await keep_operator_key(link, home, now=now())
    write_env(home, parts.addresses(settings))
    environ = parts.child_environ(settings, share_metrics(home.run / "metrics"))
    await supervisor.start(
        *(parts.dispatcher(settings, home, n + 1, environ) for n in range(settings.dispatchers))
    )
    await supervisor.start(
        *(parts.gateway(settings, n + 1, environ) for n in range(settings.gateways))
    )
    await supervisor.until_ready()
    show(_BANNER.format(url=parts.api_url(settings), key=home.operator_key, env=home.env))
    if settings.demo:
        await supervisor.start(parts.demo(environ))
        await supervisor.until_ready()


async def _with_servers(run: _Run) -> _Run:
    """Start Postgres and NATS where none are given; gives the run with their addresses."""
    settings, home, notes = run.settings, run.home, list[str]()
    embedded_url = None
    if settings.database_url is None:
        postgres = await prepare_postgres(home, notes=notes, sessions=_sessions(settings))
        await run.supervisor.start(postgres.part)
        embedded_url = postgres.url
        settings = replace(settings, database_url=Secret(postgres.url))
    if settings.nats_url is None:
        nats = await prepare_nats(
            home,
            max_payload_bytes=settings.max_payload_bytes,
            stream_max_bytes=settings.stream_max_bytes,
            notes=notes,
        )
        await run.supervisor.start(nats.part)
        settings = replace(settings, nats_url=Secret(nats.url))
    for note in notes:
        show(f"hookline: {note}")
    await run.supervisor.until_ready()
    if embedded_url:
        await make_database(embedded_url)
    return replace(run, settings=settings)


def _sessions(settings: Settings) -> int:
    """Count the sessions that all processes may open, with some for people and commands."""
    gateways = settings.gateways * settings.gateway_pool
    return gateways + settings.dispatchers * settings.dispatcher_pool + _SPARE_SESSIONS


def _in_force(settings: Settings, home: Home) -> Settings:
    """Adapt the settings to what `up` does with them.

    Addresses of our own servers, from a shell that sourced `env`, count as not given. The demo's
    receivers are on loopback, and nobody watches a retry for a day.
    """
    if settings.database_url == Secret(own_database_url(home)):
        settings = replace(settings, database_url=None)
    if settings.nats_url == Secret(own_nats_url(home) or ""):
        settings = replace(settings, nats_url=None)
    if settings.demo:
        networks = (*settings.allowed_networks, _LOOPBACK)
        settings = replace(settings, allowed_networks=networks)
        if settings.retry_schedule == Settings().retry_schedule:
            settings = replace(settings, retry_schedule=_DEMO_WAITS_S)
    return settings


@contextmanager
def _stopping(supervisor: Supervisor) -> Iterator[None]:
    """Cancel us on the first signal, kill everything on the second."""
    task = asyncio.current_task()
    asked = 0

    def on_signal() -> None:
        nonlocal asked
        asked += 1
        if asked > 1 or task is None:
            supervisor.kill()
        else:
            show("hookline: stopping (once more kills)")
            task.cancel()

    loop = asyncio.get_running_loop()
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in wanted:
        loop.add_signal_handler(one, on_signal)
    try:
        yield
    finally:
        for one in wanted:
            loop.remove_signal_handler(one)
