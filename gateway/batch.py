"""Gathers what callers hand in one by one, so that one round trip serves many.

A few go out at once. Beyond, batches form by themselves: whoever comes while one is under way waits
for the next, or until enough wait for one beside it. Nothing waits for a clock.

Callers of different parties get into the batches in turn. Beside a party that has many in the queue
a few of the others still go out at once: only what is under way, which is bounded, is before them.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from gateway.fair_queue import FairQueue
from schema.errors import Overload

T = TypeVar("T")
R = TypeVar("R")


@dataclass(eq=False, slots=True, kw_only=True)
class Waiting(Generic[T, R]):
    """An item, and whoever waits for what becomes of it (and may have given up)."""

    item: T
    size: int
    count: int
    future: "asyncio.Future[R]"

    def resolve(self, result: R) -> None:
        """Hand the result over."""
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        """Hand an error over."""
        if not self.future.done():
            self.future.set_exception(error)


class Carry(Protocol[T, R]):
    """Does what is to be done with what was handed in."""

    async def __call__(self, batch: Sequence[Waiting[T, R]], /, *, few: bool) -> None:
        """Resolve or fail every member; `few`: it went out at once, beside whatever is under way.

        Those that are left open fail with the error that is raised.
        """
        ...


class Gatherer(Generic[T, R]):
    """Runs `carry` over batches. An async context: it owns its tasks.

    A caller that is cancelled leaves its item in the batch.
    """

    def __init__(
        self,
        carry: Carry[T, R],
        *,
        few: Callable[[], int],
        lanes: int,
        least_beside: int,
        most: int,
        most_size: int,
        most_waiting: int,
        most_waiting_size: int,
    ) -> None:
        """Take the work and its limits.

        Args:
            carry: What is done with a batch.
            few: Sum of the counts, of what goes and of the few that are under way, up to which
                they go out at once.
            lanes: Batches under way at a time, apart from those of a few.
            least_beside: Sum of the counts that a batch needs to go while another is under way.
            most: Sum of the counts of a batch.
            most_size: Sum of the sizes of a batch; one larger item goes alone.
            most_waiting: Sum of the counts that may wait; beyond, callers of parties that have
                more than an even share of it meet `Overload`.
            most_waiting_size: Sum of the sizes that may wait.
        """
        self._carry = carry
        self._lanes = lanes
        self._least_beside = least_beside
        self._few = few
        self._batches = 0  # under way, apart from those of a few
        self._few_under_way = 0  # sum of their counts
        self._most = most
        self._most_size = most_size
        self._queue = FairQueue[Waiting[T, R]](most=most_waiting, most_size=most_waiting_size)
        self._work = asyncio.Event()
        self._closing = False
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._group.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish what waits, then end."""
        self._closing = True
        self._work.set()
        await self._group.__aexit__(kind, error, trace)

    async def submit(self, item: T, size: int = 0, count: int = 1, *, party: str = "") -> R:
        """Hand an item in and wait for what becomes of it.

        Args:
            item: What is carried.
            size: Of the item, in the unit of the limits.
            count: How many things it stands for.
            party: Whose it is; what is of one goes in the order in which it came.

        Raises:
            Overload: Too much waits already, or the gatherer closes.
        """
        if self._closing or not self._queue.has_room(party, size, count):
            raise Overload("more waits to be published than this gateway holds; try again")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.push(party, Waiting(item=item, size=size, count=count, future=future))
        self._work.set()
        return await future

    def fail_waiting(self, error: Exception) -> None:
        """Fail all that wait, as what is under way just did and they would."""
        for waiting in self._queue.drain():
            waiting.fail(error)

    async def _run(self) -> None:
        while True:
            await self._work.wait()
            # Let everybody in who is ready in this turn of the loop.
            await asyncio.sleep(0)
            self._work.clear()
            while self._queue:
                room = self._few() - self._few_under_way
                if self._queue.count <= room:
                    self._begin(self._take(), few=True)
                elif light := self._queue.take_light(room):
                    self._begin(light, few=True)
                elif self._may_go():
                    self._begin(self._take(), few=False)
                else:
                    break
            if self._closing and not self._queue:
                return

    def _may_go(self) -> bool:
        """Tell whether a batch of all that waits may go."""
        if not self._batches and not self._few_under_way:
            return True
        enough = self._closing or self._queue.count >= self._least_beside
        return enough and self._batches < self._lanes

    def _begin(self, batch: Sequence[Waiting[T, R]], *, few: bool) -> None:
        count = sum(waiting.count for waiting in batch) if few else 0
        self._few_under_way += count
        self._batches += not few
        self._group.create_task(self._carry_whole(batch, few=few, count=count))

    async def _carry_whole(self, batch: Sequence[Waiting[T, R]], *, few: bool, count: int) -> None:
        try:
            await self._carry(batch, few=few)
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, not to this loop
            for waiting in batch:
                waiting.fail(error)
        finally:
            self._few_under_way -= count
            self._batches -= not few
            self._work.set()

    def _take(self) -> list[Waiting[T, R]]:
        batch: list[Waiting[T, R]] = []
        size = count = 0
        while self._queue:
            following = self._queue.peek()
            size += following.size
            count += following.count
            if batch and (size > self._most_size or count > self._most):
                break
            batch.append(self._queue.pop())
        return batch
