"""A queue that parties stand in together and that serves them in turn, each its own in order.

Deficit round-robin: each turn adds to what a party may take, by the count of what it takes. So a
party with thousands in the queue is as far in front of another's first one as one turn is long.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, Protocol, TypeVar

TURN: Final = 50  # counts that a party may take in its turn
LIGHT: Final = 8  # of a party with so little in the queue, some go past a crowd


class Item(Protocol):
    """What stands in the queue."""

    @property
    def size(self) -> int:
        """Say how much room it takes."""
        ...

    @property
    def count(self) -> int:
        """Say how many things it stands for."""
        ...


I = TypeVar("I", bound=Item)  # noqa: E741 - an item


@dataclass(slots=True, eq=False)
class _Party(Generic[I]):
    items: deque[I] = field(default_factory=deque)
    size: int = 0
    count: int = 0
    may_take: int = TURN


class FairQueue(Generic[I]):
    """Bounded in counts and sizes.

    While it is full, whoever has less than an even share in it still finds room, up to twice the
    bounds in all: who fills it is refused, and nobody else.

    Attributes:
        count: Sum of the counts of what waits.
    """

    def __init__(self, *, most: int, most_size: int) -> None:
        """Be empty; `most` bounds the counts, `most_size` the sizes."""
        self._most = most
        self._most_size = most_size
        self._parties: dict[str, _Party[I]] = {}  # in the order of their turns
        self.count = 0
        self._size = 0

    def __bool__(self) -> bool:
        """Tell whether anything waits."""
        return self.count > 0

    def has_room(self, party: str, size: int, count: int) -> bool:
        """Tell whether something of a party has room; into an empty queue everything fits."""
        known = self._parties.get(party)
        own = known or _NOBODY
        parties = len(self._parties) + (known is None)
        return not self.count or (
            _fits(self.count, own.count, count, self._most, parties)
            and _fits(self._size, own.size, size, self._most_size, parties)
        )

    def push(self, party: str, item: I) -> None:
        """Let something of a party wait."""
        standing = self._parties.get(party)
        if standing is None:
            standing = self._parties[party] = _Party()
        standing.items.append(item)
        standing.count += item.count
        standing.size += item.size
        self.count += item.count
        self._size += item.size

    def peek(self) -> I:
        """Give what is next, which stays. There is something."""
        while True:
            name, party = next(iter(self._parties.items()))
            if party.items[0].count <= party.may_take:
                return party.items[0]
            self._parties[name] = self._parties.pop(name)  # to the end
            party.may_take += TURN

    def pop(self) -> I:
        """Take what is next. There is something."""
        item = self.peek()
        name, party = next(iter(self._parties.items()))
        party.items.popleft()
        party.may_take -= item.count
        party.count -= item.count
        party.size -= item.size
        self.count -= item.count
        self._size -= item.size
        if not party.items:
            del self._parties[name]
        return item

    def take_light(self, room: int) -> list[I]:
        """Take all that is of parties with little in the queue, if others crowd it.

        Args:
            room: Sum of the counts of what is taken, at most.
        """
        if room < 1 or all(one.count <= TURN for one in self._parties.values()):
            return []
        taken = list[I]()
        for name, party in list(self._parties.items()):
            if party.count <= min(LIGHT, room):
                room -= party.count
                taken += party.items
                self._drop(name)
        return taken

    def _drop(self, name: str) -> None:
        party = self._parties.pop(name)
        self.count -= party.count
        self._size -= party.size

    def drain(self) -> Iterator[I]:
        """Take everything."""
        while self:
            yield self.pop()


_NOBODY: Final = _Party[Item]()


def _fits(total: int, own: int, more: int, most: int, parties: int) -> bool:
    if total + more <= most:
        return True
    return own + more <= most // parties and total + more <= 2 * most
