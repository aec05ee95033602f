"""A crowded shard gets a bypass for all but who crowds it, and keeps it while it is crowded."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.bypass import LOOK_S, THROUGH, Bypasses
from dispatcher.source import CROWDED, Source
from schema.event import Event

AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)


def waiting(source: Source, *names: str, pending: int) -> Source:
    """Let events of these apps wait in a source, and more on the stream."""
    for name in names:
        event = Event(f"shard.3.{name}.a", {}, b"", source.next_sequence, AT)
        source.buffer.append(event)
    source.pending = pending
    return source


class Shard:
    """Shard 3 and its stream."""

    def __init__(self, *apps: str) -> None:
        self.source = Source(shard=3, epoch=1, position=10, stream_at=AT)
        self.sources = {3: self.source}
        self.apps = list(apps)
        self.begun: list[Source] = []
        self.ended: list[Source] = []
        self.bypasses = Bypasses(
            sources=self.sources,
            subjects=self._subjects,
            begin=self._begin,
            end=self._end,
            counts=lambda **_: None,
        )

    async def look(self) -> None:
        self.bypasses._look_at.clear()  # a second later
        await self.bypasses._look(self.source)

    async def _subjects(self, wanted: str) -> Mapping[str, Any]:
        assert wanted == "shard.3.>"
        return {f"shard.3.{app}.a.b": 1 for app in self.apps}

    async def _begin(self, source: Source) -> None:
        source.begin(f"c{len(self.begun)}")
        self.begun.append(source)

    async def _end(self, source: Source) -> None:
        self.ended.append(source)


async def test_a_bypass_begins_behind_the_last_event_that_became_a_row() -> None:
    shard = Shard("flood", "a", "b")
    waiting(shard.source, *["flood"] * 20, "a", pending=CROWDED)

    await shard.look()

    (bypass,) = shard.begun
    assert (list(bypass.names), bypass.next_sequence) == (["a", "b"], 11)
    assert list(shard.bypasses.served()) == [bypass]


async def test_a_bypass_stays_as_long_as_the_apps_are_the_same() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * 20, pending=CROWDED)

    await shard.look()
    await shard.look()
    shard.apps.append("new")
    await shard.look()

    assert [list(one.names) for one in shard.begun] == [["a"], ["a", "new"]]
    assert shard.ended == shard.begun[:1]


async def test_who_crowds_the_bypass_joins_the_crowd_and_stays_in_it() -> None:
    shard = Shard("flood", "second", "a")
    waiting(shard.source, *["flood"] * 20, pending=CROWDED)
    await shard.look()

    waiting(shard.begun[0], *["second"] * 20, pending=CROWDED)
    await shard.look()
    await shard.look()

    assert [list(one.names) for one in shard.begun] == [["a", "second"], ["a"]]


async def test_a_shard_with_nobody_but_the_crowd_has_no_bypass() -> None:
    shard = Shard("flood")
    waiting(shard.source, *["flood"] * 20, pending=CROWDED)

    await shard.look()

    assert not shard.begun


async def test_the_stream_is_asked_once_in_a_while() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * 20, pending=CROWDED)
    began = asyncio.get_running_loop().time()

    await shard.look()
    shard.apps.append("new")
    await shard.bypasses._look(shard.source)

    assert len(shard.begun) == 1
    assert shard.bypasses._look_at[3] >= began + LOOK_S


@pytest.mark.parametrize("how", ["is through", "is lost", "is another's", "broke"])
async def test_a_bypass_ends_when_its_shard(how: str) -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * 20, pending=CROWDED)
    await shard.look()
    await shard.bypasses.tend()
    assert not shard.ended

    if how == "is through":
        shard.source.buffer.clear()
        shard.source.pending = THROUGH
    elif how == "is lost":
        del shard.sources[3]
    elif how == "is another's":
        shard.sources[3] = waiting(Source(shard=3, epoch=2, position=10), pending=2 * CROWDED)
    else:
        shard.begun[0].broken = True
    await shard.bypasses.tend()

    assert shard.ended == shard.begun
    assert not shard.bypasses.by_shard


async def test_a_bypass_of_a_shard_that_is_hardly_crowded_rests() -> None:
    shard = Shard("flood", "a")
    waiting(shard.source, *["flood"] * 20, pending=CROWDED)
    await shard.look()

    shard.source.pending = THROUGH

    assert not list(shard.bypasses.served())
