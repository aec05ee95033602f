"""The days of UTC that messages are of, by their ids, as partitions and the reconciliation go."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import pairwise

from schema import ids

_DAY = timedelta(days=1)


def day_of(message_id: str) -> date:
    """Say of which day a message is."""
    return ids.time_of(message_id).date()


@lru_cache(maxsize=64)
def first_id(day: date) -> str:
    """Give the smallest id of a day's messages: a bound for ranges."""
    return ids.first_id(ids.MESSAGE, datetime.combine(day, time(), UTC))


def bounds(day: date) -> tuple[str, str]:
    """Give the ids that a day's messages lie between: from (inclusive), to (exclusive)."""
    return first_id(day), first_id(day + _DAY)


def stretches(day: date, number: int) -> list[tuple[str, str]]:
    """Give the bounds of so many stretches of a day that are equally long, in order."""
    begin = datetime.combine(day, time(), UTC)
    cuts = [ids.first_id(ids.MESSAGE, begin + n * _DAY / number) for n in range(number + 1)]
    return list(pairwise(cuts))


def between(least: str, greatest: str) -> tuple[list[str], list[date]]:
    """Give the days from one message to another, and before these the first id of each.

    Most batches are of one day: so there is one to compare with, and not each id is read.
    """
    first, last = day_of(least), day_of(greatest)
    days = [first + n * _DAY for n in range((last - first).days + 1)]
    return [first_id(day) for day in days], days


def of(message_ids: Iterable[str]) -> tuple[list[str], list[date]]:
    """Give the days of messages, as `between`."""
    message_ids = list(message_ids)
    return between(min(message_ids), max(message_ids)) if message_ids else ([], [])
