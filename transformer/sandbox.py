"""All transformers of one process: calls in, answers out, and whose turn it is in between.

There are two queues, each with workers of its own. Whoever was slow lately stands in the second,
one call of an owner at a time; the first goes in batches. A transformer that meets a slow call
gives back what it had not begun, so code that takes all the time it may holds up the others' by one
call, and then by none. A transformer that dies takes with it the one call that it was at.

Processes are started when they are first needed. Times are seconds of the loop's clock.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from transformer import process, wire
from transformer.call import Answer, Broken, Call, Crowded, Limits, Made, SandboxFault
from transformer.child import SLOW_PART
from transformer.process import Died, Transformer
from transformer.turns import Ticket, Turns

BATCH: Final = 32  # calls that a transformer is handed at a time
BATCH_BYTES: Final = 1_048_576
SLOW_FOR_S: Final = 30.0  # how long an owner stands in the second queue after a slow call
MOST_SLOW: Final = 10_000  # owners that are remembered as slow
STARTS: Final = 3  # in a row that may fail before whoever waits is told
_PAUSE_S: Final = 0.2  # between them
_log = logging.getLogger(__name__)


class Sandbox:
    """Runs code for its owner, in processes that are its own. `run` must be going on."""

    def __init__(
        self, limits: Limits, *, told: Callable[[str, float], None] = lambda _word, _s: None
    ) -> None:
        """Start nothing yet.

        Args:
            limits: How far code may go, and how many processes there are.
            told: Told of each call how it ended (`made`, `cancelled`, `broken` or `died`) and how
                many seconds of CPU it took.
        """
        self.limits = limits
        self._told = told
        self._quick = _Queue(most=BATCH)
        self._slow = _Queue(most=1)
        self._slow_until: dict[str, float] = {}
        self.pids: set[int] = set()  # of the transformers that run

    async def call(self, call: Call) -> Answer:
        """Have code run, when its owner's turn comes.

        Raises:
            Crowded: As many calls of its owner wait as may.
            SandboxFault: No code can be run on this machine.
        """
        queue = self._slow if self._is_slow(call.owner) else self._quick
        if 0 < self.limits.waiting <= queue.number_of(call.owner):
            raise Crowded
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        queue.put(Ticket(call, answer))
        return await answer

    async def run(self) -> None:
        """Work, for ever; what waits when this is cancelled is cancelled too."""
        try:
            async with asyncio.TaskGroup() as group:
                for queue in (self._quick, self._slow):
                    for _ in range(self.limits.workers):
                        group.create_task(self._work(queue))
        finally:
            for queue in (self._quick, self._slow):
                queue.cancel()

    async def _work(self, queue: "_Queue") -> None:
        """Take what is next to a transformer, for ever."""
        transformer: Transformer | None = None
        try:
            while True:
                batch = await queue.take()
                try:
                    if transformer is not None and transformer.has_ended:  # while it had no work
                        await self._ended(transformer)
                        transformer = None
                    transformer = transformer or await self._started(batch)
                    if transformer is not None and not await self._serve(transformer, batch):
                        await self._ended(transformer)
                        transformer = None
                finally:
                    queue.let_go(batch)
        finally:
            if transformer is not None:
                await self._ended(transformer)

    async def _started(self, batch: Sequence[Ticket]) -> Transformer | None:
        """Start a transformer; None if that cannot be, and then who waits is told."""
        for _ in range(STARTS):
            try:
                transformer = await process.start(self.limits)
            except SandboxFault as fault:
                _log.error("%s", fault)
                last = fault
                await asyncio.sleep(_PAUSE_S)
                continue
            self.pids.add(transformer.pid)
            return transformer
        for ticket in batch:
            if not ticket.answer.done():
                ticket.answer.set_exception(last)
        return None

    async def _ended(self, transformer: Transformer) -> None:
        await transformer.close()
        self.pids.discard(transformer.pid)

    async def _serve(self, transformer: Transformer, batch: Sequence[Ticket]) -> bool:
        """Have a batch answered; False if the transformer is no more."""
        waiting = list(reversed(batch))
        try:
            async for about, body in transformer.answers([ticket.call for ticket in batch]):
                ticket = waiting.pop()
                if wire.UNBEGUN in about:
                    self._again(ticket)
                else:
                    self._answer(ticket, about, body)
        except Died as death:
            self._died(waiting.pop(), death)
            for ticket in waiting:
                self._again(ticket)
            return False
        return True

    def _again(self, ticket: Ticket) -> None:
        """Queue what was not begun anew, where it belongs by now."""
        (self._slow if self._is_slow(ticket.call.owner) else self._quick).put_back(ticket)

    def _answer(self, ticket: Ticket, about: dict[str, Any], body: bytes) -> None:
        took_s = about.get("took_s")
        took_s = took_s if isinstance(took_s, float) else 0.0
        if took_s > self.limits.time_s * SLOW_PART:
            self._note_slow(ticket.call.owner)
        answer = _read(about, body)
        self._told(_word(answer), took_s)
        if not ticket.answer.done():
            ticket.answer.set_result(answer)

    def _died(self, ticket: Ticket, death: Died) -> None:
        _log.warning("a transformer ended at a call of %s: %s", ticket.call.owner, death)
        self._note_slow(ticket.call.owner)
        self._told("died", 2 * self.limits.time_s if death.overtime else 0.0)
        if ticket.answer.done():
            return
        if death.overtime:
            text = f"the code took longer than {round(self.limits.time_s * 1000)} ms"
        else:
            text = f"the process that ran the code died: {death}"
        ticket.answer.set_result(Broken(text=text))

    def _is_slow(self, owner: str) -> bool:
        return self._slow_until.get(owner, 0.0) > asyncio.get_running_loop().time()

    def _note_slow(self, owner: str) -> None:
        """Have an owner stand in the second queue from now on, with all that waits."""
        now = asyncio.get_running_loop().time()
        if len(self._slow_until) >= MOST_SLOW:
            self._slow_until = {o: at for o, at in self._slow_until.items() if at > now}
        if len(self._slow_until) < MOST_SLOW:
            self._slow_until[owner] = now + SLOW_FOR_S
        for ticket in self._quick.take_all_of(owner):
            self._slow.put(ticket)


class _Queue:
    """Turns that workers wait for. Of the slow ones no owner has two calls under way."""

    def __init__(self, *, most: int) -> None:
        self._turns = Turns()
        self._some = asyncio.Event()
        self._most = most
        self._busy: set[str] = set()  # owners that have a call under way
        self.put = self._waking(self._turns.put)
        self.put_back = self._waking(self._turns.put_back)
        self.take_all_of = self._turns.take_all_of
        self.number_of = self._turns.number_of

    async def take(self) -> list[Ticket]:
        """Wait for the next batch."""
        while True:
            besides = frozenset(self._busy) if self._most == 1 else frozenset()
            batch = self._turns.take(most=self._most, most_bytes=BATCH_BYTES, besides=besides)
            if batch:
                self._busy.update(ticket.call.owner for ticket in batch)
                return batch
            self._some.clear()
            await self._some.wait()

    def let_go(self, batch: Sequence[Ticket]) -> None:
        """Note that a batch is done with."""
        self._busy.difference_update(ticket.call.owner for ticket in batch)
        self._some.set()

    def cancel(self) -> None:
        """Let nobody wait any more."""
        for ticket in self._turns.take(most=1 << 30, most_bytes=1 << 60):
            ticket.answer.cancel()

    def _waking(self, put: Callable[[Ticket], None]) -> Callable[[Ticket], None]:
        def waking(ticket: Ticket) -> None:
            put(ticket)
            self._some.set()

        return waking


def _read(about: dict[str, Any], body: bytes) -> Answer:
    """Read an answer without trust: the engine may have been broken out of."""
    with suppress(KeyError, TypeError, AttributeError):
        if wire.BROKEN in about:
            line = about["line"]
            return Broken(
                text=str(about[wire.BROKEN])[:1_000], line=line if isinstance(line, int) else None
            )
        headers = about["headers"]
        return Made(
            method=_text(about["method"]),
            url=_text(about["url"]),
            headers=None if headers is None else {str(k): str(v) for k, v in headers.items()},
            payload=body,
            cancel=about["cancel"] is True,
        )
    return Broken(text="the process that ran the code gave no answer")


def _text(given: object) -> str | None:
    return None if given is None else str(given)


def _word(answer: Answer) -> str:
    if isinstance(answer, Broken):
        return "broken"
    return "cancelled" if answer.cancel else "made"
