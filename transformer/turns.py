"""Whose call is next: round by owner, so that a heap of one's calls is nobody else's. Pure."""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass

from transformer.call import Answer, Call


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """A call that waits, and who waits for it."""

    call: Call
    answer: "asyncio.Future[Answer]"


class Turns:
    """Calls that wait, by owner; each owner has one turn in a round."""

    def __init__(self) -> None:
        """Let nobody wait."""
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def number_of(self, owner: str) -> int:
        """Say how many calls of an owner wait."""
        return len(self._waiting.get(owner, ()))

    def put(self, ticket: Ticket) -> None:
        """Queue a call behind those of its owner."""
        self._waiting.setdefault(ticket.call.owner, deque()).append(ticket)

    def put_back(self, ticket: Ticket) -> None:
        """Queue a call before those of its owner: it was taken, and not begun."""
        owner = ticket.call.owner
        if owner not in self._waiting:
            self._waiting[owner] = deque()
            self._waiting.move_to_end(owner, last=False)
        self._waiting[owner].appendleft(ticket)

    def take(
        self, *, most: int, most_bytes: int, besides: frozenset[str] = frozenset()
    ) -> list[Ticket]:
        """Take calls that somebody waits for still, one of each owner in turn, at least one.

        Args:
            most: How many.
            most_bytes: Of payloads and code, but for the first.
            besides: Owners whose turn it is not.
        """
        taken: list[Ticket] = []
        size = 0
        while len(taken) < most:
            owner = next((name for name in self._waiting if name not in besides), None)
            if owner is None:
                break
            ticket = self._pop(owner)
            if ticket.answer.done():
                continue
            size += len(ticket.call.payload or b"") + len(ticket.call.code)
            if taken and size > most_bytes:
                self.put_back(ticket)
                break
            taken.append(ticket)
        return taken

    def take_all_of(self, owner: str) -> list[Ticket]:
        """Take all calls of an owner."""
        return list(self._waiting.pop(owner, ()))

    def _pop(self, owner: str) -> Ticket:
        queue = self._waiting[owner]
        ticket = queue.popleft()
        if queue:
            self._waiting.move_to_end(owner)
        else:
            del self._waiting[owner]
        return ticket
