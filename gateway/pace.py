"""How many events an app may publish in a second. Pure: the clock is handed in, in seconds.

A bucket of tokens for each app: it holds a second's worth, is full at first, and fills evenly. So
a second's worth may come at once, and no second holds more than twice that, no minute more than
61 seconds' worth.
"""

from collections.abc import Callable
from typing import Final

_MOST: Final = 10_000  # buckets; beyond, those that are full again are dropped


class Pace:
    """The buckets of one gateway process."""

    def __init__(self, per_s: int, monotonic_s: Callable[[], float]) -> None:
        """Take the rate, and a clock that never goes back."""
        self.per_s = per_s
        self._monotonic_s = monotonic_s
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def take(self, app_id: str, wanted: int) -> int:
        """Take tokens, as many of those wanted as there are; say how many."""
        now_s = self._monotonic_s()
        tokens = self._tokens(app_id, now_s)
        granted = min(wanted, int(tokens))
        if len(self._buckets) >= _MOST:
            self._sweep(now_s)
        self._buckets[app_id] = (tokens - granted, now_s)
        return granted

    def left(self, app_id: str) -> int:
        """Say how many an app could take now."""
        return int(self._tokens(app_id, self._monotonic_s()))

    def _tokens(self, app_id: str, now_s: float) -> float:
        found = self._buckets.get(app_id)
        if found is None:
            return float(self.per_s)
        tokens, at_s = found
        return min(float(self.per_s), tokens + (now_s - at_s) * self.per_s)

    def _sweep(self, now_s: float) -> None:
        self._buckets = {
            app_id: bucket for app_id, bucket in self._buckets.items() if now_s - bucket[1] < 1
        }
