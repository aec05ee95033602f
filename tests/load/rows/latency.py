"""(e) From the moment an event was to be published to the first byte at the receiver.

Events come at a constant rate, whatever becomes of the ones before, each published by itself: by
NATS, where each is synced by itself, as far as that goes; and by HTTP, where a gateway commits
groups, with idempotency keys and without. The baseline posts straight to the same receiver with our
transport, at the same rate.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from typing import Final

from tests.load.site import Paced, Run, Site, first_arrivals, latency_ms, opened, patience_s
from tests.load.table import Bound, Figure, at_most
from tests.load.workers import Arrival

_BY_NATS: Final = (50, 500)  # events/s
_BY_HTTP: Final = (500, 2_000)
# With keys? A machine is now faster, now slower, by more than what keys cost.
_TURNS: Final = (False, True, True, False, True, False, False, True) * 2
_PARTS: Final = (("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("max", 100.0))
_HELD_RATE: Final = 500
_HELD: Final[Mapping[str, Bound]] = {"p50": at_most(5.0), "p99": at_most(25.0)}
_AS_WITHOUT: Final[Mapping[str, Bound]] = {"p50": at_most(1.1, of_baseline=True)}


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Measure at every rate, from the slowest."""
    async with opened(run) as site:
        app_id = await site.here.with_endpoint(site.receiver.url())
        await site.here.start_and_own(1)
        await site.warm_up(app_id)
        for rate in _BY_NATS:
            straight = await _straight(site, rate)
            paced = await site.paced(app_id, rate=rate, seconds=run.scale.latency_s)
            for figure in _figures(f"{rate:,}/s by NATS", [paced], straight, _held(rate)):
                yield figure
        for rate in _BY_HTTP:
            straight = await _straight(site, rate)
            without, keyed = await _both(site, app_id, rate)
            name = f"{rate:,}/s by HTTP"
            for figure in (
                *_figures(f"{name}, no keys", without, straight, {}),
                *_figures(name, keyed, straight, _held(rate)),
                *_compared(f"{name}, against no keys", keyed, without),
            ):
                yield figure


async def _both(site: Site, app_id: str, rate: int) -> tuple[list[Paced], list[Paced]]:
    """Publish by HTTP without idempotency keys and with them, in turns."""
    came = {False: list[Paced](), True: list[Paced]()}
    seconds = site.run.scale.latency_s * 2 / len(_TURNS)
    for keyed in _TURNS:
        came[keyed].append(
            await site.paced(app_id, rate=rate, seconds=seconds, http=True, keyed=keyed)
        )
    return came[False], came[True]


def _held(rate: int) -> Mapping[str, Bound]:
    return _HELD if rate == _HELD_RATE else {}


def _figures(
    title: str, came: Sequence[Paced], straight: list[Arrival], held: Mapping[str, Bound]
) -> Iterator[Figure]:
    arrivals = _arrivals(came)
    for name, part in _PARTS:
        yield Figure(
            name=f"{title}, {name}",
            value=latency_ms(arrivals, part),
            unit="ms",
            baseline=latency_ms(straight, part),
            held_to=held.get(name),
            samples=len(arrivals),
        )
    late_ms = max(one.publisher_late_ms for one in came)
    yield Figure(name=f"{title}, publisher late, p99", value=late_ms, unit="ms")


def _compared(title: str, keyed: Sequence[Paced], without: Sequence[Paced]) -> Iterator[Figure]:
    """Set events with idempotency keys beside events without."""
    for name, part in _PARTS[:-1]:
        yield Figure(
            name=f"{title}, {name}",
            value=latency_ms(_arrivals(keyed), part),
            unit="ms",
            baseline=latency_ms(_arrivals(without), part),
            held_to=_AS_WITHOUT.get(name),
        )


def _arrivals(came: Sequence[Paced]) -> list[Arrival]:
    return [arrival for one in came for arrival in one.arrivals]


async def _straight(site: Site, rate: int) -> list[Arrival]:
    number = round(rate * site.run.scale.latency_s / 2)
    await site.receiver.ask("reset")
    url = site.receiver.url()
    await site.load.ask("bare_paced", most_s=patience_s(number), url=url, rate=rate, number=number)
    return first_arrivals(await site.receiver.arrivals(site.run.directory))
