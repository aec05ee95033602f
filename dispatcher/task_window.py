"""How much of a task may be under way (pure). Times are seconds of the loop's clock.

Never more than an endpoint takes in about half a second, so that a task that is paused or cancelled
stands still soon, and live traffic never stands behind much of it.
"""

from collections import deque
from typing import Final

AHEAD_S: Final = 0.5
LEAST: Final = 8  # where no rate is known
MOST: Final = 1_024
_SEEN_S: Final = 1.0  # what the endpoint took of late


class Window:
    """One endpoint's."""

    def __init__(self) -> None:
        """Know nothing of the endpoint."""
        self._ended: deque[tuple[float, int]] = deque()
        self._number = 0

    def ended(self, number: int, now: float) -> None:
        """Note that so many attempts are over."""
        self._ended.append((now, number))
        self._number += number

    def size(self, now: float, *, rate: float | None) -> int:
        """Say how many may be sent and not attempted yet; `rate` is the endpoint's own limit."""
        while self._ended and self._ended[0][0] <= now - _SEEN_S:
            self._number -= self._ended.popleft()[1]
        least = LEAST if rate is None else max(1, min(LEAST, int(rate * AHEAD_S)))
        # It doubles as long as everything is taken at once.
        return min(max(least, int(self._number / _SEEN_S * 2 * AHEAD_S) + least), MOST)


class Rate:
    """So many a second, all endpoints of a task together; a quarter of a second's worth at once."""

    def __init__(self, per_s: float | None, now: float) -> None:
        """Begin with one."""
        self._per_s = per_s
        self._tokens = 1.0
        self._at = now

    def room(self, now: float) -> int:
        """Say how many may be sent now."""
        if self._per_s is None:
            return MOST
        most = max(1.0, self._per_s / 4)
        self._tokens = min(most, self._tokens + (now - self._at) * self._per_s)
        self._at = now
        return int(self._tokens)

    def sent(self, number: int) -> None:
        """Note what was sent."""
        if self._per_s is not None:
            self._tokens -= number
