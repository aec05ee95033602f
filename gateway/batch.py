"""Gathers what callers hand in one by one, so that one round trip serves many.

A few go out at once. Beyond, batches form by themselves: whoever comes while one is under way waits
for the next, or until enough wait for one beside it. Nothing waits for a clock, and callers of
different parties get into the batches in turn.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar

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
                few = self._few_under_way + self._queue.count <= self._few()
                if not few and not self._may_go():
                    break
                self._begin(self._take(), few=few)
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


class _Lead(Enum):
    YOURS = "yours"


@dataclass(eq=False, slots=True, kw_only=True)
class _Asking(Generic[T, R]):
    item: T
    future: "asyncio.Future[R | _Lead]"


class Relay(Generic[T, R]):
    """Lets callers that ask the same kind of question at a time ask it together.

    It has no task of its own: whoever comes first asks for all that wait, then hands over. If the
    one who asks is cancelled, the others ask again.
    """

    def __init__(self, *, most: int) -> None:
        """Bound how many ask together."""
        self._most = most
        self._queue: deque[_Asking[T, R]] = deque()
        self._led = False

    async def ask(self, item: T, carry: Callable[[Sequence[T]], Awaitable[Sequence[R]]]) -> R:
        """Ask, alone or with others.

        Args:
            item: The question.
            carry: Answers questions in their order; that of whoever leads is used.
        """
        future: asyncio.Future[R | _Lead] = asyncio.get_running_loop().create_future()
        own = _Asking[T, R](item=item, future=future)
        self._queue.append(own)
        if self._led:
            answer = await self._wait(own)
            if not isinstance(answer, _Lead):
                return answer
        self._led = True
        try:
            # Let everybody in who is ready in this turn of the loop.
            await asyncio.sleep(0)
            return await self._lead(own, carry)
        finally:
            if own in self._queue:  # cancelled before it asked
                self._queue.remove(own)
            self._hand_over()

    async def _wait(self, own: _Asking[T, R]) -> "R | _Lead":
        try:
            return await own.future
        except asyncio.CancelledError:
            if own in self._queue:
                self._queue.remove(own)
            if own.future.done() and not own.future.cancelled() and own.future.result() is _LEAD:
                self._hand_over()
            raise

    async def _lead(
        self, own: _Asking[T, R], carry: Callable[[Sequence[T]], Awaitable[Sequence[R]]]
    ) -> R:
        self._queue.remove(own)
        others = [self._queue.popleft() for _ in range(min(len(self._queue), self._most - 1))]
        try:
            mine, *theirs = await carry([own.item, *(other.item for other in others)])
        except asyncio.CancelledError:
            self._queue.extendleft(reversed(others))
            raise
        except Exception as error:
            for other in others:
                if not other.future.done():
                    other.future.set_exception(error)
            raise
        for other, answer in zip(others, theirs, strict=True):
            if not other.future.done():
                other.future.set_result(answer)
        return mine

    def _hand_over(self) -> None:
        self._led = False
        for waiting in self._queue:
            if not waiting.future.done():
                self._led = True
                waiting.future.set_result(_LEAD)
                return


_LEAD: Final = _Lead.YOURS
