"""(h) A dispatcher that owes a dead endpoint a great backlog, all of it due.

Nobody listens where the endpoint is. The dispatcher is started on the backlog, with one event of
another app waiting on the stream; then it is left alone, then the other app publishes.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Final

from deploy.ports import first_free
from tests.load import seed
from tests.load.delivering import MIB
from tests.load.machine import tree_cpu_s
from tests.load.payload import Kind, path
from tests.load.seed import Target
from tests.load.site import Run, Site, latency_ms, opened
from tests.load.table import Figure, at_most
from tests.load.workers import Arrival

_RATE: Final = 50.0
_CALM_S: Final = 5.0  # after the start, before it counts as idle
_MOST_MIB: Final = 200.0
_MOST_IDLE: Final = 2.0  # per cent of a core
_MOST_START_S: Final = 5.0
_TIMES_QUIET: Final = 2.0
_SLACK_MS: Final = 10.0


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Measure another app quiet; seed the backlog; start, rest, and measure it again."""
    async with opened(run) as site:
        here = site.here
        other = await here.with_endpoint(site.receiver.url())
        await here.start_and_own(1)
        await site.warm_up(other)
        quiet = await site.paced(other, rate=_RATE, seconds=run.scale.latency_s)
        await here.stop_dispatchers()
        await _seed(site)
        yield Figure(
            name="process start to another app's delivery",
            value=await _start(site, other),
            unit="s",
            held_to=at_most(_MOST_START_S),
        )
        await asyncio.sleep(_CALM_S)
        for figure in await _idle(site):
            yield figure
        came = await site.paced(other, rate=_RATE, seconds=run.scale.latency_s)
        for figure in _others(came.arrivals, quiet.arrivals):
            yield figure
        peak_mib = here.peak_bytes() / MIB
        yield Figure(
            name="peak memory, dispatcher", value=peak_mib, unit="MiB", held_to=at_most(_MOST_MIB)
        )


async def _seed(site: Site) -> None:
    url = f"http://127.0.0.1:{first_free(())}{path(Kind.KEEP)}"
    app_id = await site.here.new_app()
    endpoint_id = await site.here.new_endpoint(app_id, url)
    shard = site.here.shard_of(app_id)
    target = Target(app_id=app_id, endpoint_id=endpoint_id, shard=shard, url=url)
    async with site.here.link() as link:
        await seed.owed(link, target, site.run.scale.backlog)


async def _start(site: Site, other: str) -> float:
    """Start the dispatcher; gives the seconds until the event that waits for it is delivered."""
    await site.receiver.ask("reset")
    await site.flood(other, number=1)
    started_ns = time.monotonic_ns()
    await site.here.start_dispatcher()
    last_ns = await site.wait_for(1)
    return (last_ns - started_ns) / 1e9


async def _idle(site: Site) -> list[Figure]:
    """Measure what the dispatcher and Postgres use while nobody asks anything of them."""
    pids = {
        "dispatcher": site.here.dispatchers[1].pid,
        "postgres": site.here.pids["postgres"],
    }
    before_s = {part: tree_cpu_s(pid) for part, pid in pids.items()}
    started_s = time.monotonic()
    await asyncio.sleep(site.run.scale.idle_s)
    took_s = time.monotonic() - started_s
    return [
        Figure(
            name=f"CPU when idle, {part}",
            value=(tree_cpu_s(pid) - before_s[part]) / took_s * 100,
            unit="%",
            held_to=at_most(_MOST_IDLE) if part == "dispatcher" else None,
        )
        for part, pid in pids.items()
    ]


def _others(came: list[Arrival], quiet: list[Arrival]) -> list[Figure]:
    bound = at_most(latency_ms(quiet, 99) * _TIMES_QUIET + _SLACK_MS)
    return [
        Figure(
            name=f"another app at {_RATE:g} events/s, p{part:g}",
            value=latency_ms(came, part),
            unit="ms",
            baseline=latency_ms(quiet, part),
            held_to=bound if part == 99 else None,
            samples=len(came),
        )
        for part in (50, 99)
    ]
