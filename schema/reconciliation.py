"""What the reconciliation compares: what was fanned out, and what became of it. Pure.

Days are UTC's, by the ids of messages.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final, NamedTuple

OPEN_S: Final = 60.0  # between two counts of a day that is not over
SETTLED: Final = timedelta(
    minutes=10
)  # after its end a day is over for intakes that were late, too
AGAIN: Final = timedelta(days=1)  # between two counts of a day that is over and still owes
DOUBTED: Final = timedelta(minutes=10)  # between two counts of one that does not add up


class Terms(NamedTuple):
    """What became of deliveries: each counts in one of these."""

    delivered: int
    owed: int
    dead: int
    cancelled: int
    expired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AppDay:
    """The deliveries of an app's messages of a day.

    Attributes:
        app_uid: What the producer calls the app.
        accepted: How many were made, as counted when they were.
        terms: What had become of them.
        difference: By how much the terms fall short of `accepted`. Not 0: something is wrong.
        counted_at: When; None if never yet.
        closed: The day is over, and nothing was owed.
    """

    day: date
    app_id: str
    app_uid: str | None
    accepted: int
    terms: Terms
    difference: int
    counted_at: datetime | None
    closed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a shard's intake has come.

    Attributes:
        position: Up to which event.
        stream_at: Of which stream: of the one that was made then.
        taken: How many were taken since `counted_from`.
    """

    position: int
    stream_at: datetime
    taken: int
    counted_from: int = 0


def is_over(day: date, now: datetime) -> bool:
    """Tell whether all of a day's messages are there."""
    return now >= _end(day) + SETTLED


def due_again(day: date, terms: Terms, difference: int, now: datetime) -> datetime | None:
    """Say when what was counted now is to be counted again, if nothing is fanned out meanwhile.

    None closes the day.
    """
    if difference:
        return now + DOUBTED
    if not is_over(day, now):
        over_at = _end(day) + SETTLED
        return min(now + timedelta(seconds=OPEN_S), over_at) if terms.owed else over_at
    return now + AGAIN if terms.owed else None


def _end(day: date) -> datetime:
    return datetime.combine(day, time(), UTC) + timedelta(days=1)
