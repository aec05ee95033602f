"""What publishing takes of late, and so how many events are quicker singly than in a batch (pure).

A batch costs the server four syncs and a directory, whatever its size; a single event one sync, and
the server takes one behind the other. Which is less depends on the disk, so it is measured.
Durations are seconds.
"""

from typing import Final

LEAST: Final = 8
MOST: Final = 64
_SINGLE_S: Final = 0.0003
_BATCH_S: Final = 0.005
_NEWEST: Final = 0.1  # how much the newest counts
_BESIDE: Final = 4  # of fewer events the way there and back is most of what they take
_SMALL: Final = 128  # of more events a batch takes longer


class Costs:
    """What the last ones took."""

    def __init__(self) -> None:
        """Begin with what a common disk takes."""
        self._single_s = _SINGLE_S
        self._batch_s = _BATCH_S

    @property
    def few(self) -> int:
        """How many events take no longer singly than a batch does."""
        return min(max(round(self._batch_s / self._single_s), LEAST), MOST)

    def singly(self, number: int, took_s: float) -> None:
        """Note how long it took until events had been taken; `number` were under way."""
        if number >= _BESIDE:
            self._single_s += (took_s / number - self._single_s) * _NEWEST

    def batch(self, number: int, took_s: float) -> None:
        """Note how long a batch of so many events took."""
        if number <= _SMALL:
            self._batch_s += (took_s - self._batch_s) * _NEWEST
