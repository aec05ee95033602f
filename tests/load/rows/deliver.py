"""(b) one endpoint, (c) ten endpoints, (j) two dispatchers: deliveries from end to end."""

from collections.abc import AsyncGenerator
from typing import Final

from tests.load.delivering import at_once, drained, figures, held_figures
from tests.load.loops import Pace
from tests.load.site import Run, opened
from tests.load.table import Figure

_FAN_OUT: Final = 10


async def one_endpoint(run: Run) -> AsyncGenerator[Figure]:
    """Measure 1:1, published while it is delivered, and drained from the stream."""
    async with opened(run) as site:
        app_id = await site.here.with_endpoint(site.receiver.url())
        await site.here.start_and_own(1)
        for name, deliver in (("at once", at_once), ("draining", drained)):
            done = await deliver(site, [app_id], run.scale.events)
            for figure in held_figures(name, done, run.stock):
                yield figure


async def fan_out(run: Run) -> AsyncGenerator[Figure]:
    """Measure 1:10."""
    async with opened(run) as site:
        app_id = await site.here.new_app()
        for number in range(_FAN_OUT):
            await site.here.new_endpoint(app_id, site.receiver.url(endpoint=number))
        await site.here.start_and_own(1)
        done = await at_once(site, [app_id], run.scale.fan_out_events, fan_out=_FAN_OUT)
        for figure in figures("1:10", done, run.stock, parts=("postgres", "nats")):
            yield figure


async def two_dispatchers(run: Run) -> AsyncGenerator[Figure]:
    """Measure one and two dispatchers over the same apps."""
    async with opened(run) as site:
        app_ids = await site.here.app_of_each_shard()
        for number, app_id in enumerate(app_ids):
            await site.here.new_endpoint(app_id, site.receiver.url(endpoint=number))
        baseline = run.stock
        for name, numbers in (("one", (1,)), ("two", (1, 2))):
            await site.here.start_and_own(*numbers)
            done = await at_once(site, app_ids, run.scale.events)
            for figure in figures(name, done, baseline, parts=("postgres", "nats")):
                yield figure
            baseline = Pace(per_s=done.per_s, cpu_us=done.cpu_us["dispatcher"])
