"""(e) From the moment an event was to be published to the first byte at the receiver.

Events come at a constant rate, whatever becomes of the ones before, each published by itself: by
NATS, where each is synced by itself, as far as that goes; and by HTTP, where a gateway commits
groups. The baseline posts straight to the same receiver with our transport, at the same rate.
"""

from collections.abc import AsyncGenerator, Mapping
from typing import Final

from tests.load.site import Run, Site, first_arrivals, latency_ms, opened, patience_s
from tests.load.table import Bound, Figure, at_most
from tests.load.workers import Arrival

_RATES: Final = ((50, False), (500, False), (500, True), (2_000, True))  # events/s, by HTTP
_PARTS: Final = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0))
_HELD_RATE: Final = 500
_HELD: Final[Mapping[str, Bound]] = {"p50": at_most(5.0), "p99": at_most(25.0)}


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Measure at every rate, from the slowest."""
    async with opened(run) as site:
        app_id = await site.here.with_endpoint(site.receiver.url())
        await site.here.start_and_own(1)
        await site.warm_up(app_id)
        straight = list[Arrival]()
        for rate, http in _RATES:
            if not (http and rate == _HELD_RATE):
                straight = await _straight(site, rate)
            paced = await site.paced(app_id, rate=rate, seconds=run.scale.latency_s, http=http)
            title = f"{rate:,}/s by {'HTTP' if http else 'NATS'}"
            came = paced.arrivals
            for name, part in _PARTS:
                yield Figure(
                    name=f"{title}, {name}",
                    value=latency_ms(came, part),
                    unit="ms",
                    baseline=latency_ms(straight, part),
                    held_to=_HELD.get(name) if rate == _HELD_RATE else None,
                    samples=len(came),
                )
            yield Figure(
                name=f"{title}, publisher late, p99",
                value=paced.publisher_late_ms,
                unit="ms",
            )


async def _straight(site: Site, rate: int) -> list[Arrival]:
    number = round(rate * site.run.scale.latency_s / 2)
    await site.receiver.ask("reset")
    url = site.receiver.url()
    await site.load.ask("bare_paced", most_s=patience_s(number), url=url, rate=rate, number=number)
    return first_arrivals(await site.receiver.arrivals(site.run.directory))
