"""Which apps crowd a shard, by a sample of the events that wait (pure).

Apps are named as events name them: by id or uid, the third part of a stored subject.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from schema.event import SHARD_ROOT

REST: Final = 8  # what is read past a crowd is at most one in so many of the events that wait
NAMES: Final = 250  # apps in a filter; a server takes a second to compare some thousands

_NO_NAMES: Final = ("", "*", ">")  # fits no shard; would match others


def crowding(subjects: Iterable[str]) -> set[str]:
    """Give the apps that have to be left out so that few of the events are of the others."""
    counts = Counter(name_in(subject) for subject in subjects)
    left, most = counts.total(), counts.total() // REST
    found = set()
    for name, number in counts.most_common():
        if left <= most:
            break
        found.add(name)
        left -= number
    return found


def passing(subjects: Iterable[str], crowd: Collection[str]) -> tuple[list[str], int]:
    """Give the apps of a stream that do not crowd it, in order, and how many had no room."""
    names = sorted({name_in(subject) for subject in subjects}.difference(crowd, _NO_NAMES))
    return names[:NAMES], max(len(names) - NAMES, 0)


def name_in(subject: str) -> str:
    """Give the app that a stored subject names; none where it fits no shard."""
    root, _, rest = subject.partition(".")
    return rest.partition(".")[2].partition(".")[0] if root == SHARD_ROOT else ""
