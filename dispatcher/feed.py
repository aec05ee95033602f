"""The events of the shards that we own, as the stream sends them; a batch at a time.

Each shard has a source, a consumer that is pulled from by hand and made anew when it breaks. The
sources of all shards are gone round in small helpings, so a flood in one never stands in front of
another's events; and those with few events waiting are served apart from those with many. With the
few go the bypasses of the many.
"""

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final

import nats.errors
from nats.aio.client import Client

from dispatcher.bypass import Bypasses, Counts, StreamFault, subjects_request
from dispatcher.inbox import read_any_subject, read_headers, subscribe_raw
from dispatcher.source import FEW, Source, consumer_request, pull_request, read_place
from schema.event import Event
from schema.store.intake import Stored
from schema.store.shard import Claim

HELPING: Final = 64  # events of one shard per round
BATCH_BYTES: Final = 8 * 1_048_576  # of payload per batch, or one event
PULLED_BYTES: Final = 64 * 1_048_576  # about what may wait to be taken, all shards together
_API_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 0.5  # between tries while NATS is away
_LOOK_S: Final = 1.0  # how often sources are looked after when nothing comes
_NO_HEADERS: Final[Mapping[str, str]] = {}
_AT_ONCE: Final = 16  # consumers made at the same time
_log = logging.getLogger(__name__)


class Feed:
    """Pulls the shards that we own.

    Attributes:
        sources: By shard.
    """

    def __init__(self, *, bus: Client, stream: str, counts: Counts) -> None:
        """Own no shard yet; `counts` is told of crowded shards."""
        self._bus = bus
        self._stream = stream
        self.sources: dict[int, Source] = {}
        self._bypasses = Bypasses(
            sources=self.sources,
            subjects=self._subjects,
            begin=self._begin,
            end=self._end,
            counts=counts,
        )
        self._by_consumer: dict[str, Source] = {}
        self._inbox = bus.new_inbox()
        # By whether few events wait: what came for a shard where few do, and for one with many.
        self._some = {few: asyncio.Event() for few in (True, False)}
        self._working = {few: asyncio.Lock() for few in (True, False)}
        self._said: tuple[Mapping[int, Stored], float] = ({}, 0.0)  # by Postgres, and when
        self._tending = asyncio.Event()
        self._reconnects = -1
        self._loop = asyncio.get_running_loop()

    def add(self, claims: Iterable[Claim]) -> None:
        """Begin with shards that are ours now."""
        for claim in claims:
            self.sources[claim.shard] = Source(
                shard=claim.shard,
                epoch=claim.epoch,
                position=claim.position,
                stream_at=claim.stream_at,
                wrote_at=self._loop.time(),
            )
        self._tending.set()

    async def remove(self, shards: Iterable[int]) -> None:
        """End with shards; what was pulled and not taken is left to their next owner."""
        self.lose(shards)
        async with self._still():
            pass  # a batch under way may hold events of theirs

    def lose(self, shards: Iterable[int]) -> None:
        """End with shards that are not ours any more."""
        for shard in shards:
            source = self.sources.pop(shard, None)
            if source is not None:
                self._by_consumer.pop(source.consumer, None)

    def rewind(self, source: Source, stored: Stored) -> None:
        """Have a source's events sent again from behind what is stored of them."""
        _log.warning("shard %d: Postgres has lost batches; they are read again", source.shard)
        source.rewind(stored, self._loop.time())
        self._tending.set()

    def compare(self, said: Mapping[int, Stored], asked_at: float) -> None:
        """Compare what we know to be stored with what Postgres says, asked at a loop's time.

        A shard that nothing comes for would not hear otherwise that its last events were lost.
        """
        self._said = (said, asked_at)
        if self._forgotten():
            self._tending.set()

    def _forgotten(self) -> list[tuple[Source, Stored]]:
        said, asked_at = self._said
        pairs = [(self.sources.get(shard), stored) for shard, stored in said.items()]
        return [(s, stored) for s, stored in pairs if s and s.is_forgotten(stored, asked_at)]

    def pending(self) -> int:
        """How many events of our shards are not rows yet, as far as the server has told."""
        return sum(source.waiting for source in self.sources.values())

    @asynccontextmanager
    async def batch(self, *, few: bool, most: int) -> AsyncIterator[list[tuple[Source, Event]]]:
        """Lend the next events, up to `most`: of the shards where few wait, or of those with many.

        It waits until something came, which may prove to be none of these. Both kinds may be lent
        at a time, never the same source twice. Events stand by shard, and in the stream's order, so
        that whoever writes the same rows writes them in one order.
        """
        await self._some[few].wait()
        async with self._working[few]:
            batch = self._gather(few=few, room=most)
            if not batch:
                self._some[few].clear()
                yield batch
                return
            sources = {source for source, _ in batch}
            for source in sources:
                source.taking = True
            try:
                yield batch
            finally:
                for source in sources:
                    source.taking = False
                for some in self._some.values():
                    some.set()

    async def run(self) -> None:
        """Keep every source asked for, and begin anew those that broke, for ever."""
        read_any_subject(self._bus)
        await subscribe_raw(self._bus, f"{self._inbox}.*", self._receive)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._bypasses.run(), name="bypasses")
            group.create_task(self._tend(), name="feed-tend")

    async def _tend(self) -> None:
        while True:
            try:
                await self._tend_once()
            except (TimeoutError, nats.errors.Error, OSError, StreamFault) as error:
                _log.warning("the stream does not answer: %r", error)
                await asyncio.sleep(_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._tending.wait()
            self._tending.clear()

    def _receive(self, subject: bytes, reply: bytes, headers: bytes, body: bytes) -> None:
        """Hand what the server sent to its source; events carry their own subject, not ours."""
        if reply:
            place = read_place(reply.decode())
            source = self._by_consumer.get(place.consumer)
            if source is None:
                return
            event = Event(
                subject=subject.decode("utf-8", "replace"),
                headers=read_headers(headers) if headers else _NO_HEADERS,
                body=body,
                sequence=place.sequence,
                at=place.at,
            )
            source.accept(place, event)
            self._some[source.passes is not None or _has_few(source)].set()
            if source.crowded:
                self._bypasses.notice()
        else:
            source = self._by_consumer.get(subject.decode().rpartition(".")[2])
            if source is None:
                return
            source.status(read_headers(headers))
        source.heard_at = self._loop.time()
        if source.broken or source.outstanding == 0:
            self._tending.set()

    async def _tend_once(self) -> None:
        now = asyncio.get_running_loop().time()
        reconnects = self._bus.stats["reconnects"]
        lost = reconnects != self._reconnects
        for source in (*self.sources.values(), *self._bypasses.by_shard.values()):
            source.broken = source.broken or lost or source.overdue(now)
        self._reconnects = reconnects
        if self._forgotten():
            async with self._still():  # a batch under way may be the first of another stream
                for source, stored in self._forgotten():
                    self.rewind(source, stored)
        await self._bypasses.tend()
        if any(source.broken for source in self.sources.values()):
            await self._look_at_stream()
            broken = [source for source in self.sources.values() if source.broken]
            for start in range(0, len(broken), _AT_ONCE):
                await asyncio.gather(*map(self._begin, broken[start : start + _AT_ONCE]))
        each_bytes = PULLED_BYTES // max(len(self.sources), 1)
        for source in (*self.sources.values(), *self._bypasses.by_shard.values()):
            number = source.wants(each_bytes)
            if number:
                await self._pull(source, number, now)

    async def _look_at_stream(self) -> None:
        """Learn which stream it is; one that was made anew, or lost its end, counts anew.

        All sources are asked: not each is told that its consumer went with the stream.
        """
        info = await self._api(f"STREAM.INFO.{self._stream}", b"")
        stream_at = datetime.fromisoformat(info["created"])
        last = info["state"]["last_seq"]
        if all(source.follows(stream_at, last) for source in self.sources.values()):
            return
        async with self._still():  # what a batch under way holds is of the former stream
            for source in self.sources.values():
                if not source.follows(stream_at, last):
                    if source.stream_at is not None:
                        _log.warning("shard %d begins anew: the stream is another", source.shard)
                    source.restart(stream_at, last)
                    self._bypasses.forget(source.shard)

    async def _subjects(self, wanted: str) -> Mapping[str, Any]:
        info = await self._api(f"STREAM.INFO.{self._stream}", subjects_request(wanted))
        return info["state"].get("subjects") or {}

    async def _begin(self, source: Source) -> None:
        self._by_consumer.pop(source.consumer, None)
        kind = "intake" if source.passes is None else "bypass"
        name = f"{kind}-{source.shard}-{secrets.token_hex(4)}"
        stream = self._stream
        body = consumer_request(stream, name, source)
        await self._api(f"CONSUMER.CREATE.{stream}.{name}", body)
        if source.serves(self.sources.get(source.shard)):  # not lost meanwhile
            source.begin(name)
            self._by_consumer[name] = source
            self._tending.set()

    async def _end(self, source: Source) -> None:
        if self._by_consumer.pop(source.consumer, None) is None:
            return  # it never began
        await self._bus.publish(f"$JS.API.CONSUMER.DELETE.{self._stream}.{source.consumer}")

    async def _pull(self, source: Source, number: int, now: float) -> None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{source.consumer}"
        reply = f"{self._inbox}.{source.consumer}"
        await self._bus.publish(subject, pull_request(number), reply=reply)
        source.asked(number, now)

    async def _api(self, call: str, body: bytes) -> dict[str, Any]:
        reply = await self._bus.request(f"$JS.API.{call}", body, timeout=_API_TIMEOUT_S)
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise StreamFault(f"{call}: {answer['error'].get('description')}")
        return answer

    def _gather(self, *, few: bool, room: int) -> list[tuple[Source, Event]]:
        """Take helpings from sources in turn, until a batch is full or nothing is left."""
        batch = list[tuple[Source, Event]]()
        room_bytes = BATCH_BYTES
        kept = [source for source in self.sources.values() if _has_few(source) is few]
        hungry = deque(
            source
            for source in (*(self._bypasses.served() if few else ()), *kept)
            if source.buffer and not source.taking
        )
        while hungry and room > 0 and room_bytes > 0:
            source = hungry.popleft()
            helping = source.hand_on(min(HELPING, room), room_bytes)
            batch += [(source, event) for event in helping]
            room -= len(helping)
            room_bytes -= sum(len(event.body) for event in helping)
            if source.buffer:
                hungry.append(source)
            # Who was served stands last the next time.
            served = self.sources if source.passes is None else self._bypasses.by_shard
            served[source.shard] = served.pop(source.shard)
        self._tending.set()
        return sorted(batch, key=_shard)

    @asynccontextmanager
    async def _still(self) -> AsyncIterator[None]:
        """Hold on while nothing is taken."""
        async with self._working[True], self._working[False]:
            yield


def _has_few(source: Source) -> bool:
    return len(source.buffer) <= FEW and not source.crowded


def _shard(taken: tuple[Source, Event]) -> int:
    return taken[0].shard
