"""How fast a lane may send: never more than `rate` in any window of a second. Pure.

The last `rate` sends are remembered; the next may go one window after the oldest of them. So a
burst of a second's worth may go at once, and no window of a second, wherever it starts, holds more
than the rate. Times are seconds of the loop's clock.
"""

from collections import deque
from typing import Final

# A receiver sees sends a little closer together than we made them; 15 ms is 1.5 % of the rate.
WINDOW_S: Final = 1.015


class Pace:
    """The exact schedule of one endpoint's or app's sends."""

    __slots__ = ("_sent", "rate")

    def __init__(self, rate: int, *, not_before: float) -> None:
        """Start a schedule.

        Args:
            rate: Sends per second, at least 1.
            not_before: No send before this; a window after somebody else may have sent the last.
        """
        self.rate = rate
        self._sent: deque[float] = deque([not_before - WINDOW_S] * rate, maxlen=rate)

    def slot(self) -> float:
        """Tell when the next send may go."""
        return self._sent[0] + WINDOW_S

    def take(self, now: float) -> None:
        """Note a send."""
        self._sent.append(now)

    def change(self, rate: int) -> None:
        """Go on at another rate, remembering what was sent."""
        kept = list(self._sent)[-rate:]
        # What was not remembered may have been sent just before the oldest that was.
        padding = [kept[0]] * (rate - len(kept))
        self.rate = rate
        self._sent = deque([*padding, *kept], maxlen=rate)


def repaced(pace: Pace | None, rate: int | None, *, not_before: float) -> Pace | None:
    """Give the schedule for a limit that may have changed."""
    if rate is None:
        return None
    if pace is None:
        return Pace(rate, not_before=not_before)
    if pace.rate != rate:
        pace.change(rate)
    return pace
