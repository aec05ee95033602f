"""Lets callers that ask the same kind of question at a time ask it together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


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
