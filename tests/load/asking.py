"""Pages asked for by HTTP at a constant rate: kinds of them in turn.

Requests count from when they were to be sent. The baseline is the health check at the same rate:
what a request costs that reads next to nothing.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from tests.load.arithmetic import percentile
from tests.load.site import Site
from tests.load.table import Figure, at_most

_RATE: Final = 50.0
_CONNECTIONS: Final = 8
_PATIENCE_S: Final = 60.0
_WARM_UP: Final = 10  # of each kind
_HEALTH: Final = "/api/v1/health/"

Kinds = Mapping[str, Callable[[], str]]  # what makes the path of a page, by the kind of page


async def measure(
    site: Site,
    kinds: Kinds,
    *,
    seconds: float,
    most_ms: float,
    sparse: Collection[str] = (),
) -> list[Figure]:
    """Ask for pages of every kind in turn, once all are warm; gives each kind's p99.

    Args:
        site: Whose gateway is asked.
        kinds: What is asked for.
        seconds: How long.
        most_ms: What each p99 is held to.
        sparse: Kinds whose pages may have no rows; of the others that is a fault.
    """
    number = round(_RATE * seconds)
    names = list(kinds)
    await _latencies(site, kinds, [name for name in names for _ in range(_WARM_UP)], sparse)
    floor = await _latencies(site, {"": lambda: _HEALTH}, [""] * (number // len(kinds)), ())
    wanted = [names[place % len(names)] for place in range(number)]
    took_ms = await _latencies(site, kinds, wanted, sparse)
    by_kind = dict[str, list[float]]()
    for name, ms in zip(wanted, took_ms, strict=True):
        by_kind.setdefault(name, []).append(ms)
    return [
        Figure(
            name=f"{name}, p99",
            value=percentile(by_kind[name], 99),
            unit="ms",
            baseline=percentile(floor, 99),
            held_to=at_most(most_ms),
            samples=len(by_kind[name]),
        )
        for name in names
    ]


async def _latencies(
    site: Site, kinds: Kinds, wanted: list[str], sparse: Collection[str]
) -> list[float]:
    paths = [kinds[name]() for name in wanted]
    told = await site.load.ask(
        "http_paced",
        most_s=len(paths) / _RATE + _PATIENCE_S,
        url=site.here.url,
        key=site.here.key,
        paths=paths,
        rate=_RATE,
        connections=_CONNECTIONS,
        may_be_empty=[path for name, path in zip(wanted, paths, strict=True) if name in sparse],
    )
    return list(told["latencies_ms"])
