"""Work on many things of one request, a slice at a time, so that other requests get in between."""

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeVar

T = TypeVar("T")

SLICE: Final = 25  # things; a millisecond or so


class Slices:
    """Does such work for a gateway: one request's at a time, or many would add up to a long one."""

    def __init__(self) -> None:
        """Work on nothing yet."""
        self._turn = asyncio.Lock()

    async def all(self, made: Iterator[T]) -> list[T]:
        """Give all that an iterator makes. What it raises is raised, and ends the work."""
        done = list[T]()
        async with self._turn:
            while piece := list(islice(made, SLICE)):
                done += piece
                await asyncio.sleep(0)
        return done
