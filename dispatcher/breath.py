"""How long the intake of many events leaves the process to everything else (pure).

Durations and times are seconds, of the loop's clock.
"""

from collections.abc import Collection, Hashable
from typing import Final, NamedTuple

SPILL_MOST_S: Final = 0.05
LIVE_S: Final = 1.0  # how long an app that published a few events counts as one that does


class Rest(NamedTuple):
    """How long to wait; and what of it only because other apps publish."""

    wait_s: float
    for_others_s: float


class Breath:
    """What is known of the last batches."""

    def __init__(self, *, rest: float) -> None:
        """Know of no batch; `rest`: how long to wait for others, in times of what a batch took."""
        self._rest = rest
        self._few_at: dict[Hashable, float] = {}
        self._spilled = 0

    def few(self, sources: Collection[Hashable], now: float) -> None:
        """Note that a few events of some sources were taken."""
        for source in sources:
            self._few_at[source] = now

    def spilled(self, number: int) -> None:
        """Note that deliveries had no room in memory."""
        self._spilled += number

    def after(
        self, sources: Collection[Hashable], took_s: float, *, now: float, settled_per_s: float
    ) -> Rest:
        """Say how long to wait after a batch of many events of some sources.

        What had no room in memory has to be read back: when as much will be sent soon, waiting for
        it costs less. Where sending stands still, as at an endpoint that hangs, nobody waits for
        it. And while others publish, a flood has only a part of the process.
        """
        spill_s, self._spilled = self._spilled / max(settled_per_s, 1.0), 0
        wait_s = spill_s if spill_s <= SPILL_MOST_S else 0.0
        rest_s = took_s * self._rest if self._others_live(sources, now) else 0.0
        return Rest(max(wait_s, rest_s), max(rest_s - wait_s, 0.0))

    def _others_live(self, sources: Collection[Hashable], now: float) -> bool:
        return any(now - at < LIVE_S for one, at in self._few_at.items() if one not in sources)
