"""A crowded shard gets a bypass for all but who crowds it, and keeps it while it is crowded."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.bypass import ENOUGH, LOOK_S, Bypasses, StreamFault
from dispatcher.source import CROWDED, FEW, Place, Source
from schema.event import Event

AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


def waiting(source: Source, *names: str, pending: int) -> Source:
    """Let events of these apps come to a source, and more wait on the stream."""
    source.pending = pending
    if source.broken:
        source.begin("own")
    for name in names:
        sequence = source.next_sequence
        event = Event(f"shard.3.{name}.a", {}, b"", sequence, AT)
        source.accept(Place(source.consumer, sequence, source.consumed + 1, AT, pending), event)
    return source


class Shard:
    """Shard 3 and its stream."""

    def __init__(self, *apps: str) -> None:
        self.source = Source(shard=3, epoch=1, position=10, stream_at=AT)
        self.sources = {3: self.source}
        self.apps = list(apps)
        self.begun: list[Source] = []
        self.ended: list[Source] = []
        self.changed = asyncio.Condition()
        self.while_beginning = lambda: None
        self.faults = list[Exception]()
        self.asked = 0
        self.looked = asyncio.Event()  # a round is over
        self.bypasses = Bypasses(
            sources=self.sources,
            subjects=self._subjects,
            begin=self._begin,
            end=self._end,
            counts=self._looked,
        )

    async def look(self) -> None:
        """Look as if a second had passed."""
        for crowd in self.bypasses._crowds.values():
            crowd.look_at = 0.0
        await self.bypasses._tend_crowd(self.source)

    @asynccontextmanager
    async def looked_after(self) -> AsyncIterator[None]:
        """Have it looked after as in a dispatcher."""
        running = asyncio.create_task(self.bypasses.run())
        try:
            yield
        finally:
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that the stream is asked for has come true."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(condition)

    async def _subjects(self, wanted: str) -> Mapping[str, Any]:
        assert wanted == "shard.3.>"
        self.asked += 1
        await self._tell()
        if self.faults:
            raise self.faults.pop()
        return {f"shard.3.{app}.a.b": 1 for app in self.apps}

    async def _begin(self, source: Source) -> None:
        self.while_beginning()
        source.begin(f"c{len(self.begun)}")
        self.begun.append(source)
        await self._tell()

    async def _end(self, source: Source) -> None:
        self.ended.append(source)

    def _looked(self, **_: int) -> None:
        self.looked.set()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()


async def test_a_bypass_begins_behind_the_last_event_that_became_a_row() -> None:
    shard = Shard("flood", "a", "b")
    waiting(shard.source, *["flood"] * ENOUGH, "a", pending=CROWDED)

    await shard.look()

    (bypass,) = shard.begun
    assert (list(bypass.names), bypass.next_sequence) == (["a", "b"], 11)
    assert list(shard.bypasses.served()) == [bypass]


async def test_a_bypass_stays_as_long_as_the_apps_are_the_same() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)

    await shard.look()
    await shard.look()
    shard.apps.append("new")
    await shard.look()

    assert [list(one.names) for one in shard.begun] == [["a"], ["a", "new"]]
    assert shard.ended == shard.begun[:1]


async def test_who_crowds_the_bypass_joins_the_crowd_and_stays_in_it() -> None:
    shard = Shard("flood", "second", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)
    await shard.look()

    waiting(shard.begun[0], *["second"] * ENOUGH, pending=CROWDED)
    await shard.look()
    await shard.look()

    assert [list(one.names) for one in shard.begun] == [["a", "second"], ["a"]]


async def test_a_shard_with_nobody_but_the_crowd_has_no_bypass() -> None:
    shard = Shard("flood")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)

    await shard.look()

    assert not shard.begun


async def test_the_stream_is_asked_once_in_a_while() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)
    began = asyncio.get_running_loop().time()

    await shard.look()
    shard.apps.append("new")
    await shard.bypasses._tend_crowd(shard.source)

    assert len(shard.begun) == 1
    assert shard.bypasses._crowds[3].look_at >= began + LOOK_S


@pytest.mark.parametrize("how", ["is through", "is lost", "is another's", "broke"])
async def test_a_bypass_ends_when_its_shard(how: str) -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)
    await shard.look()
    await shard.bypasses.tend()
    assert not shard.ended

    if how == "is through":
        shard.source.buffer.clear()
        shard.source.pending = FEW
    elif how == "is lost":
        del shard.sources[3]
    elif how == "is another's":
        shard.sources[3] = waiting(Source(shard=3, epoch=2, position=10), pending=2 * CROWDED)
    else:
        shard.begun[0].broken = True
    await shard.bypasses.tend()

    assert shard.ended == shard.begun
    assert not shard.bypasses.by_shard


async def test_a_bypass_is_served_until_the_last_of_the_crowd_is_taken() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)
    await shard.look()
    shard.source.pending = 0
    served = [list(shard.bypasses.served())]

    for taking in (True, False):
        shard.source.buffer.clear()
        shard.source.taking = taking
        await shard.bypasses.tend()
        served.append(list(shard.bypasses.served()))

    assert served == [shard.begun, shard.begun, []]


async def test_a_crowd_is_known_although_all_that_came_of_it_is_in_a_batch() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=2 * CROWDED)
    shard.source.buffer.clear()

    await shard.look()

    assert [list(one.names) for one in shard.begun] == [["a"]]


async def test_a_look_at_too_few_events_puts_nothing_off_and_takes_nobody_for_the_crowd() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, "a", "flood", pending=2 * CROWDED)
    await shard.look()

    waiting(shard.source, *["flood"] * ENOUGH, pending=2 * CROWDED)
    await shard.bypasses._tend_crowd(shard.source)

    assert [list(one.names) for one in shard.begun] == [["a"]]


async def test_a_crowded_shard_is_looked_at_again_although_nothing_more_of_it_comes() -> None:
    shard = Shard("flood")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)

    async with shard.looked_after():
        shard.bypasses.notice()
        await shard.until(lambda: shard.asked == 1)
        shard.apps.append("a")
        await shard.until(lambda: bool(shard.begun))

    assert [list(one.names) for one in shard.begun] == [["a"]]


async def test_a_stream_that_says_no_is_asked_again_although_nothing_more_comes() -> None:
    shard = Shard("flood", "a")
    shard.faults.append(StreamFault("not now"))
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)

    async with shard.looked_after():
        shard.bypasses.notice()
        await shard.until(lambda: bool(shard.begun))

    assert shard.asked == 2


async def test_a_bypass_that_broke_is_made_anew_although_nothing_more_comes() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)

    async with shard.looked_after():
        shard.bypasses.notice()
        await shard.until(lambda: bool(shard.begun))
        await shard.looked.wait()
        shard.begun[0].broken = True
        await shard.bypasses.tend()
        await shard.until(lambda: len(shard.begun) == 2)

    assert shard.bypasses.by_shard == {3: shard.begun[1]}


async def test_who_crowded_a_shard_that_is_through_is_read_past_who_crowds_it_next() -> None:
    shard = Shard("first")
    waiting(shard.source, *["first"] * ENOUGH, pending=CROWDED)
    await shard.look()
    shard.source.buffer.clear()
    shard.source.pending = FEW
    await shard.bypasses.tend()

    shard.apps.append("second")
    waiting(shard.source, "first", pending=0)
    waiting(shard.source, *["second"] * ENOUGH, pending=CROWDED)
    await shard.look()

    assert [list(one.names) for one in shard.begun] == [["first"]]


async def test_a_bypass_that_was_made_for_a_stream_that_is_no_more_reads_nothing() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * ENOUGH, pending=CROWDED)
    shard.while_beginning = lambda: shard.bypasses.forget(3)

    await shard.look()

    assert shard.ended == shard.begun
    assert not shard.bypasses.by_shard
