"""A bounded memory of what Postgres said, dropped when Postgres says that it changed.

Entries belong to a group (a tenant) and leave together. Ages are seconds of a monotonic clock.
"""

import time
from collections import defaultdict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cache(Generic[Key, Value]):
    """Remembers values while notifications of changes arrive (`hears`), else for a moment only.

    A value that was read before a change must not be kept after it: take `mark` before reading
    and hand it to `put`.
    """

    def __init__(self, *, size: int, lifetime_s: float, deaf_lifetime_s: float) -> None:
        """Start empty and deaf."""
        self.hears = False
        self._size = size
        self._lifetime_s = lifetime_s
        self._deaf_lifetime_s = deaf_lifetime_s
        self._entries: dict[Key, tuple[float, str, Value]] = {}
        self._groups: defaultdict[str, set[Key]] = defaultdict(set)
        self._mark = 0

    def get(self, key: Key) -> Value | None:
        """Give what is remembered and young enough."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        age_s = time.monotonic() - entry[0]
        if age_s <= (self._lifetime_s if self.hears else self._deaf_lifetime_s):
            return entry[2]
        self._forget(key)
        return None

    def mark(self) -> int:
        """Say how often something was dropped; take it before reading what is to be put."""
        return self._mark

    def put(self, key: Key, value: Value, *, group: str, mark: int) -> None:
        """Remember a value, unless something was dropped since `mark`."""
        if mark != self._mark:
            return
        self._forget(key)
        if len(self._entries) >= self._size:
            self._forget(next(iter(self._entries)))
        self._entries[key] = (time.monotonic(), group, value)
        self._groups[group].add(key)

    def drop(self, group: str) -> None:
        """Forget a group."""
        self._mark += 1
        for key in self._groups.pop(group, ()):
            del self._entries[key]

    def clear(self) -> None:
        """Forget everything."""
        self._mark += 1
        self._entries.clear()
        self._groups.clear()

    def __len__(self) -> int:
        return len(self._entries)

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        group = self._groups[entry[1]]
        group.discard(key)
        if not group:
            del self._groups[entry[1]]
