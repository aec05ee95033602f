"""How an endpoint does, and how much may be tried on it at a time. Pure: brings no clock, no dice.

Its cap is halved when it struggles and grows by one with each success, so as many again go with
every round of them. After a run of failures that speak of the endpoint and not of a message it
fails: one attempt goes at a time, a probe, and a gap that doubles lies behind each that failed. The
first answer that does not speak of the endpoint ends it; the cap grows from one then. Times are
seconds of the loop's clock.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """When an endpoint counts as failing, and how it is probed then."""

    most_in_flight: int = 16
    failing_after: int = 10  # failures in a row
    gap_s: float = (
        1.0  # behind the failure that began it, and doubled behind each probe that failed
    )
    gap_most_s: float = 60.0
    jitter: float = 0.1  # gaps grow by up to this part


class Health:
    """The health of one endpoint.

    Attributes:
        cap: How many attempts may be in flight.
        failing: Only probes go.
        probe_at: The next one goes no sooner; 0 while it does not fail.
        run: Failures in a row.
    """

    __slots__ = ("_gap_s", "_limits", "cap", "failing", "probe_at", "run")

    def __init__(self, limits: HealthLimits) -> None:
        """Expect the best."""
        self._limits = limits
        self._gap_s = 0.0
        self.cap = limits.most_in_flight
        self.failing = False
        self.probe_at = 0.0
        self.run = 0

    def succeeded(self) -> None:
        """Note a delivery: one more may go at the same time."""
        if self.run:
            self.answered()
        if self.cap < self._limits.most_in_flight:
            self.cap += 1

    def answered(self) -> None:
        """Note an answer that does not speak of the endpoint, whatever it says of the message."""
        self.run = 0
        self.failing = False
        self.probe_at = self._gap_s = 0.0

    def struggled(self) -> None:
        """Let half as many go at the same time."""
        self.cap = max(self.cap // 2, 1)

    def failed(self, *, probe: bool, now: float, dice: float) -> None:
        """Count a failure that speaks of the endpoint.

        Args:
            probe: It was begun while the endpoint failed already; others tell nothing new then.
            now: When the attempt ended.
            dice: Uniform in [0, 1).
        """
        self.run += 1
        if self.failing and not probe:
            return
        if not self.failing and self.run < self._limits.failing_after:
            return
        self.failing = True
        self.cap = 1
        self._gap_s = min(max(self._gap_s * 2, self._limits.gap_s), self._limits.gap_most_s)
        self.probe_at = now + self._gap_s * (1 + self._limits.jitter * dice)

    def mended(self) -> None:
        """Try again at once, one at a time: what made it fail may have been changed by hand."""
        if self.run:
            self.answered()
