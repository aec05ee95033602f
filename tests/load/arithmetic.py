"""The sums behind the figures. Pure; times are nanoseconds or seconds, as the names say."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence

_NS_PER_S = 1_000_000_000


def percentile(values: Sequence[float], part: float) -> float:
    """Give the smallest value that `part` per cent of all do not exceed (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(part / 100 * len(ranked)) - 1)]


def schedule_ns(*, start_ns: int, rate: float, number: int) -> Iterable[int]:
    """Give the times of a constant rate. Each is counted from the start: none depends on others."""
    return (start_ns + round(place * _NS_PER_S / rate) for place in range(number))


def most_in_a_second(times_ns: Sequence[int]) -> int:
    """Count the most that lie in one second, wherever it starts (its end is not in it)."""
    ranked = sorted(times_ns)
    return max(
        (bisect_left(ranked, at + _NS_PER_S) - place for place, at in enumerate(ranked)), default=0
    )


def use_of_rate(times_ns: Sequence[int], rate: int) -> float:
    """Tell which part of a rate was used while there was always something to send.

    It is one second over the mean time from one to the `rate`-th after it: the same for what goes
    evenly and for what goes in bursts, and without the first burst's advantage.
    """
    ranked = sorted(times_ns)
    spans = [late - early for early, late in zip(ranked, ranked[rate:], strict=False)]
    return _NS_PER_S * len(spans) / sum(spans) if spans else 0.0


def per_second(times_ns: Sequence[int]) -> float:
    """Give the rate between the first and the last of them."""
    took_ns = max(times_ns) - min(times_ns)
    return (len(times_ns) - 1) * _NS_PER_S / took_ns
