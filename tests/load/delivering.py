"""Deliveries a second through the whole path, what each costs every part, and the figures of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tests.load.arithmetic import per_second
from tests.load.loops import Pace
from tests.load.site import SETTLE_S, Site, first_arrivals
from tests.load.table import Bound, Figure, at_least, at_most

MOST_CPU_US: Final = 100.0  # of the dispatcher, a delivery
TIMES_STOCK: Final = 12.0
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What came of a number of events."""

    per_s: float
    cpu_us: Mapping[str, float]  # a delivery, by part
    peak_mib: float
    repeats: int


async def at_once(site: Site, app_ids: Sequence[str], events: int, fan_out: int = 1) -> Delivered:
    """Publish while it is delivered: from the first publish to the last request's first byte."""
    await site.warm_up(*app_ids, fan_out=fan_out)
    before_s = _cpu_s(site)
    start_ns = await site.flood(*app_ids, number=events)
    return await _delivered(
        site, before_s, events * fan_out, lambda at_ns: len(at_ns) * 1e9 / (max(at_ns) - start_ns)
    )


async def drained(site: Site, app_ids: Sequence[str], events: int, fan_out: int = 1) -> Delivered:
    """Publish while no dispatcher runs, then start one: from the first to the last request."""
    await site.here.stop_dispatchers()
    await site.receiver.ask("reset")
    await site.flood(*app_ids, number=events)
    await site.here.start_dispatcher()
    return await _delivered(site, _cpu_s(site), events * fan_out, per_second)


async def redelivered(site: Site, app_id: str, letters: int) -> Delivered:
    """Have an app's dead letters redelivered by a task: from the first to the last request."""
    await site.receiver.ask("reset")
    before_s = _cpu_s(site)
    await site.here.redeliver(app_id)
    return await _delivered(site, before_s, letters, per_second)


def figures(
    name: str,
    delivered: Delivered,
    baseline: Pace,
    *,
    rate: Bound | None = None,
    cpu: Bound | None = None,
    parts: Sequence[str] = (),
) -> list[Figure]:
    """Give the figures of one form beside a bare loop; `parts` are shown beside the dispatcher."""
    own = "dispatcher"
    return [
        Figure(
            name=f"{name}: deliveries",
            value=delivered.per_s,
            unit="/s",
            baseline=baseline.per_s,
            held_to=rate,
        ),
        Figure(
            name=f"{name}: CPU each, {own}",
            value=delivered.cpu_us[own],
            unit="us",
            baseline=baseline.cpu_us,
            held_to=cpu,
        ),
        *(
            Figure(name=f"{name}: CPU each, {part}", value=delivered.cpu_us[part], unit="us")
            for part in parts
        ),
        Figure(name=f"{name}: peak memory, {own}", value=delivered.peak_mib, unit="MiB"),
        Figure(name=f"{name}: came twice", value=delivered.repeats, unit=""),
    ]


def held_figures(name: str, delivered: Delivered, stock: Pace) -> list[Figure]:
    """Give the figures of the plain path, with what it is held to and every part's share."""
    parts = [part for part in delivered.cpu_us if part != "dispatcher"]
    return figures(
        name,
        delivered,
        stock,
        rate=at_least(TIMES_STOCK, of_baseline=True),
        cpu=at_most(MOST_CPU_US),
        parts=parts,
    )


async def _delivered(
    site: Site,
    before_s: Mapping[str, float],
    deliveries: int,
    rate: Callable[[Sequence[int]], float],
) -> Delivered:
    """Wait for deliveries, and for what is written after the last one, and add up."""
    await site.wait_for(deliveries)
    await asyncio.sleep(SETTLE_S)
    after_s, peak_bytes = _cpu_s(site), site.here.peak_bytes()
    arrivals = await site.receiver.arrivals(site.run.directory)
    first = first_arrivals(arrivals)
    return Delivered(
        per_s=rate([one.arrival_ns for one in first]),
        cpu_us={part: (after_s[part] - before_s[part]) / deliveries * 1e6 for part in after_s},
        peak_mib=peak_bytes / MIB,
        repeats=len(arrivals) - len(first),
    )


def _cpu_s(site: Site) -> dict[str, float]:
    """Give what every part has used so far, the bench's own included."""
    own = {"load": site.load.cpu_s(), "receiver": site.receiver.cpu_s()}
    return site.here.cpu_s() | own
