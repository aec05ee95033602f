"""How fast a lane may send: never more than `rate` in any window of a second. Pure.

The last `rate` sends are remembered; the next may go one window after the oldest of them has left.
So a burst of a second's worth may go at once, and no window of a second, wherever it starts, holds
more than the rate. A request leaves later than it is picked (a connection may have to be opened
first), and what counts is when it left: before, it blocks its slot, whose time nobody knows. Times
are seconds of the loop's clock.
"""

from collections import deque
from typing import Final

# A receiver sees sends a little closer together than we made them; 15 ms is 1.5 % of the rate.
WINDOW_S: Final = 1.015
NOT_YET: Final = float("inf")


class Send:
    """One request: when it left. Until it has, its time is not known."""

    __slots__ = ("left_at", "picked_at")

    def __init__(self, picked_at: float) -> None:
        """Be about to leave."""
        self.picked_at = picked_at
        self.left_at = NOT_YET

    def left(self, at: float) -> None:
        """Note that it leaves now; the last time counts."""
        self.left_at = at

    def over(self) -> None:
        """Note that the attempt has ended; one that never left counts from when it was picked."""
        if self.left_at == NOT_YET:
            self.left_at = self.picked_at


class Pace:
    """The exact schedule of one endpoint's or app's sends."""

    __slots__ = ("_sends", "rate")

    def __init__(self, rate: int, *, not_before: float) -> None:
        """Start a schedule.

        Args:
            rate: Sends per second, at least 1.
            not_before: No send before this; a window after somebody else may have sent the last.
        """
        self.rate = rate
        former = Send(not_before - WINDOW_S)
        former.over()
        self._sends: deque[Send] = deque([former] * rate, maxlen=rate)

    def slot(self) -> float:
        """Tell when the next send may go; NOT_YET while the oldest has not left."""
        return self._sends[0].left_at + WINDOW_S

    def take(self, send: Send) -> None:
        """Remember a send."""
        self._sends.append(send)

    def change(self, rate: int) -> None:
        """Go on at another rate, remembering what was sent."""
        kept = list(self._sends)[-rate:]
        # What was not remembered may have been sent just before the oldest that was.
        padding = [kept[0]] * (rate - len(kept))
        self.rate = rate
        self._sends = deque([*padding, *kept], maxlen=rate)


def repaced(pace: Pace | None, rate: int | None, *, not_before: float) -> Pace | None:
    """Give the schedule for a limit that may have changed."""
    if rate is None:
        return None
    if pace is None:
        return Pace(rate, not_before=not_before)
    if pace.rate != rate:
        pace.change(rate)
    return pace
