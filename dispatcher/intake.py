"""Takes events in: from the stream into message and delivery rows, a batch in one statement.

The sources of all shards are gone round in small helpings, so a flood in one never stands in front
of another's events. What was taken goes straight into the lanes of the shards that we own; work for
others is written to `wake` and rung for.
"""

import asyncio
import json
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Final, NamedTuple

import nats.errors
from nats.aio.client import Client

from dispatcher.config import DispatcherConfig
from dispatcher.inbox import read_any_subject, read_headers, subscribe_raw
from dispatcher.match import Directory, Target, Tenant
from dispatcher.metrics import Metrics
from dispatcher.source import Source, consumer_request, pull_request, read_place
from schema import ids
from schema.dead_letter import RejectedEvent
from schema.errors import HooklineError, Unavailable
from schema.event import APP, EVENT_ID, MESSAGE_ID, WAKE_ROOT, Draft, Event, Rejection, read_event
from schema.store import intake as store
from schema.store.link import Pool
from schema.store.pool import REFUSALS, reachable
from schema.store.shard import Claim

HELPING: Final = 64  # events of one shard per round
FEW: Final = 16  # events that wait for a shard; with more it does not stand beside those with few
BATCH_BYTES: Final = 8 * 1_048_576  # of payload per statement, or one event
PULLED_BYTES: Final = 64 * 1_048_576  # about what may wait for the statement, all shards together
BREATH_MOST_S: Final = 0.05
_API_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 0.5  # between tries while Postgres or NATS is away
_LOOK_S: Final = 1.0  # how often sources are looked after when nothing comes
_NO_HEADERS: Final[Mapping[str, str]] = {}
_AT_ONCE: Final = 16  # consumers made at the same time
_log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A message that is stored and owed to these targets."""

    draft: Draft
    tenant: Tenant
    targets: Sequence[Target]


class _Read(NamedTuple):
    """An event of a batch, read: a draft with its tenant, or why not."""

    source: int
    event: Event
    draft: Draft | Rejection
    tenant: Tenant | None = None


class _Numbered(NamedTuple):
    """A message of a batch: its number in the statement, the shard that it came from."""

    number: int
    source: int
    taken: Taken


class _StreamFault(HooklineError):
    """The stream's API said no."""


class Intake:
    """Pulls the shards that we own and turns what comes into rows."""

    def __init__(
        self,
        *,
        pool: Pool,
        bus: Client,
        directory: Directory,
        clock: Callable[[], datetime],
        config: DispatcherConfig,
        metrics: Metrics,
        sync: Callable[[], Awaitable[None]],
        on_taken: Callable[[Sequence[Taken]], int],
        on_repeated: Callable[[Sequence[Taken]], None],
        settled_per_s: Callable[[], float],
    ) -> None:
        """Own no shard yet.

        Args:
            pool: Where the rows go.
            bus: Where the stream is.
            directory: What apps and endpoints there are.
            clock: For what is read of the directory.
            config: Limits.
            metrics: What is counted.
            sync: Brings every change of configuration that was committed by now.
            on_taken: Told of the messages of each batch once they are stored; tells how many
                deliveries had no room in memory.
            on_repeated: Told of those that had been stored before, or had a known event id.
            settled_per_s: How fast deliveries are settled of late.
        """
        self._pool = pool
        self._bus = bus
        self._directory = directory
        self._clock = clock
        self._config = config
        self._metrics = metrics
        self._sync = sync
        self._on_taken = on_taken
        self._on_repeated = on_repeated
        self._settled_per_s = settled_per_s
        self._spilled = 0  # deliveries of the last batch
        self._sources: dict[int, Source] = {}
        self._by_consumer: dict[str, Source] = {}
        self._inbox = bus.new_inbox()
        # By whether few events wait: what came for a shard where few do, and for one with many.
        self._some = {few: asyncio.Event() for few in (True, False)}
        self._tending = asyncio.Event()
        self._working = {few: asyncio.Lock() for few in (True, False)}
        self._reconnects = -1
        self._loop = asyncio.get_running_loop()

    def add(self, claims: Iterable[Claim]) -> None:
        """Begin with shards that are ours now."""
        for claim in claims:
            self._sources[claim.shard] = Source(
                shard=claim.shard,
                epoch=claim.epoch,
                position=claim.position,
                stream_at=claim.stream_at,
            )
        self._tending.set()

    async def remove(self, shards: Iterable[int]) -> None:
        """End with shards; what was pulled and not taken is left to their next owner."""
        self._lose(shards)
        async with self._still():
            pass  # a batch under way may hold events of theirs

    def pending(self) -> int:
        """How many events of our shards are not rows yet, as far as the server has told."""
        return sum(s.pending + len(s.buffer) for s in self._sources.values())

    async def run(self) -> None:
        """Take events in, for ever."""
        read_any_subject(self._bus)
        await subscribe_raw(self._bus, f"{self._inbox}.*", self._receive)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tend(), name="intake-tend")
            group.create_task(self._work(few=True), name="intake-few")
            group.create_task(self._work(few=False), name="intake-many")

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
            self._some[_has_few(source)].set()
        else:
            source = self._by_consumer.get(subject.decode().rpartition(".")[2])
            if source is None:
                return
            source.status(read_headers(headers))
        source.heard_at = self._loop.time()
        if source.broken or source.outstanding == 0:
            self._tending.set()

    async def _tend(self) -> None:
        """Keep every source asked for, and begin anew those that broke."""
        while True:
            try:
                await self._tend_once()
            except (TimeoutError, nats.errors.Error, OSError, _StreamFault) as error:
                _log.warning("the stream does not answer: %r", error)
                await asyncio.sleep(_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._tending.wait()
            self._tending.clear()

    async def _tend_once(self) -> None:
        now = asyncio.get_running_loop().time()
        reconnects = self._bus.stats["reconnects"]
        lost = reconnects != self._reconnects
        for source in self._sources.values():
            source.broken = source.broken or lost or source.overdue(now)
        self._reconnects = reconnects
        if any(source.broken for source in self._sources.values()):
            await self._look_at_stream()
            broken = [source for source in self._sources.values() if source.broken]
            for start in range(0, len(broken), _AT_ONCE):
                await asyncio.gather(*map(self._begin, broken[start : start + _AT_ONCE]))
        each_bytes = PULLED_BYTES // max(len(self._sources), 1)
        for source in list(self._sources.values()):
            number = source.wants(each_bytes)
            if number:
                await self._pull(source, number, now)

    async def _look_at_stream(self) -> None:
        """Learn which stream it is; one that was made anew, or lost its end, counts anew.

        All sources are asked: not each is told that its consumer went with the stream.
        """
        info = await self._api(f"STREAM.INFO.{self._config.stream}", b"")
        stream_at = datetime.fromisoformat(info["created"])
        last = info["state"]["last_seq"]
        if all(source.follows(stream_at, last) for source in self._sources.values()):
            return
        async with self._still():  # what a batch under way holds is of the former stream
            for source in self._sources.values():
                if not source.follows(stream_at, last):
                    if source.stream_at is not None:
                        _log.warning("shard %d begins anew: the stream is another", source.shard)
                    source.restart(stream_at, last)

    async def _begin(self, source: Source) -> None:
        self._by_consumer.pop(source.consumer, None)
        name = f"intake-{source.shard}-{secrets.token_hex(4)}"
        stream = self._config.stream
        body = consumer_request(stream, name, source)
        await self._api(f"CONSUMER.CREATE.{stream}.{name}", body)
        if self._sources.get(source.shard) is source:  # not lost meanwhile
            source.begin(name)
            self._by_consumer[name] = source

    async def _pull(self, source: Source, number: int, now: float) -> None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._config.stream}.{source.consumer}"
        reply = f"{self._inbox}.{source.consumer}"
        await self._bus.publish(subject, pull_request(number), reply=reply)
        source.asked(number, now)

    async def _api(self, call: str, body: bytes) -> dict[str, Any]:
        reply = await self._bus.request(f"$JS.API.{call}", body, timeout=_API_TIMEOUT_S)
        answer: dict[str, Any] = json.loads(reply.data)
        if "error" in answer:
            raise _StreamFault(f"{call}: {answer['error'].get('description')}")
        return answer

    async def _work(self, *, few: bool) -> None:
        """Take in what waits, of the shards where few events do or of those with many.

        Both go on at a time, so that a few do not wait for the large batches of a flood.
        """
        while True:
            await self._some[few].wait()
            async with self._working[few]:
                batch = self._gather(few=few)
                if batch:
                    await self._take_of(batch)
                else:
                    self._some[few].clear()
            await asyncio.sleep(0 if few else self._breath_s())  # deliveries go between batches

    @asynccontextmanager
    async def _still(self) -> AsyncIterator[None]:
        """Hold on while nothing is taken."""
        async with self._working[True], self._working[False]:
            yield

    async def _take_of(self, batch: Sequence[tuple[Source, Event]]) -> None:
        sources = {source.shard: source for source, _ in batch}.values()
        for source in sources:
            source.taking = True
        try:
            await self._take(batch)
        finally:
            for source in sources:
                source.taking = False
            for some in self._some.values():
                some.set()

    def _breath_s(self) -> float:
        """Say how long to leave the process to the senders.

        What had no room in memory has to be read back: when as much will be sent soon, waiting
        for it costs less. Where sending stands still, as at an endpoint that hangs, nobody waits.
        """
        wait_s, self._spilled = self._spilled / max(self._settled_per_s(), 1.0), 0
        return wait_s if wait_s <= BREATH_MOST_S else 0.0

    def _gather(self, *, few: bool) -> list[tuple[Source, Event]]:
        """Take helpings from sources in turn, until a batch is full or nothing is left."""
        batch = list[tuple[Source, Event]]()
        room, room_bytes = self._config.intake_batch, BATCH_BYTES
        hungry = deque(
            source
            for source in self._sources.values()
            if source.buffer and not source.taking and _has_few(source) is few
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
            self._sources[source.shard] = self._sources.pop(source.shard)
        self._tending.set()
        return batch

    async def _take(self, batch: Sequence[tuple[Source, Event]]) -> None:
        """Turn a batch into rows, however long Postgres takes.

        What Postgres refuses is looked for by halves and rejected alone: it blocks nobody.
        """
        refusal: Rejection | None = None
        while batch := [(source, event) for source, event in batch if source.has_handed(event)]:
            try:
                async with reachable():
                    await self._take_once(await self._read(batch, refusal), batch)
                batch = ()
            except Unavailable as error:
                _log.warning("intake waits: %s", error.__cause__)
                await asyncio.sleep(_PAUSE_S)
            except REFUSALS as error:
                _log.warning("Postgres refuses a batch of %d: %s", len(batch), error)
                if refusal is not None:
                    raise
                half = len(batch) // 2
                if half:
                    await self._take(batch[:half])
                    batch = batch[half:]
                else:
                    refusal = Rejection(reason="not_storable", detail=str(error))

    async def _take_once(
        self, reads: Sequence[_Read], batch: Sequence[tuple[Source, Event]]
    ) -> None:
        taking, messages = store.Taking(), list[_Numbered]()
        for read in reads:
            if read.tenant is None or isinstance(read.draft, Rejection):
                taking.reject(read.source, _rejected(read))
            else:
                number, taken = self._fan_out(taking, read, read.draft, read.tenant)
                messages.append(_Numbered(number, read.source, taken))
        last = {source.shard: (source, event.sequence) for source, event in batch}
        positions = {
            shard: store.Position(
                epoch=source.epoch,
                sequence=sequence,
                stream_at=source.stream_at,
                known=source.stored,
            )
            for shard, (source, sequence) in last.items()
        }
        async with self._pool.acquire() as link:
            answer = await store.take(link, self._config.name, positions, taking)
        for shard, (source, sequence) in last.items():
            if shard in answer.fenced:
                source.wrote(sequence)
            elif shard in answer.moved:
                _log.warning("shard %d: Postgres has lost batches; they are read again", shard)
                source.rewind(answer.moved[shard])
                self._tending.set()
        lost = positions.keys() - answer.fenced - answer.moved.keys()
        self._lose(shard for shard in lost if self._sources.get(shard) is last[shard][0])
        await self._report(
            [read for read in reads if read.source in answer.fenced],
            [message for message in messages if message.source in answer.fenced],
            answer.repeated,
        )

    async def _read(
        self, batch: Sequence[tuple[Source, Event]], refusal: Rejection | None
    ) -> list[_Read]:
        """Read events with the apps that they are for; `refusal` is known of the only one."""
        if refusal is not None:
            return [_Read(source=s.shard, event=e, draft=refusal) for s, e in batch]
        await self._sync()
        most = self._config.max_payload_bytes
        drafts = [read_event(event, max_bytes=most) for _, event in batch]
        keys = [(d.environment, d.app) if isinstance(d, Draft) else None for d in drafts]
        tenants = await self._directory.find({k for k in keys if k is not None}, self._clock())
        return [
            _Read(source.shard, event, draft, tenants.get(key) if key is not None else None)
            for (source, event), draft, key in zip(batch, drafts, keys, strict=True)
        ]

    def _fan_out(
        self, taking: store.Taking, read: _Read, draft: Draft, tenant: Tenant
    ) -> tuple[int, Taken]:
        number = taking.add(read.source, tenant.id, draft)
        foreign = tenant.shard not in self._sources
        targets = [
            target
            for target in tenant.targets.values()
            if target.matches(draft.event_type, draft.channels)
        ]
        for target in targets:
            place = self._place(read) if target.ordered else None
            taking.fan_out(number, target.id, tenant.shard, foreign=foreign, place=place)
        return number, Taken(draft=draft, tenant=tenant, targets=targets)

    def _place(self, read: _Read) -> int:
        source = self._sources.get(read.source)  # lost meanwhile: nothing of it will be written
        return store.place_of(source.stream_at if source else None, read.event.sequence)

    async def _report(
        self,
        reads: Sequence[_Read],
        messages: Sequence[_Numbered],
        repeated: set[int],
    ) -> None:
        """Tell of what was stored, ring for others, and explain what was not stored."""
        stored = [m.taken for m in messages if m.number not in repeated]
        self._metrics.batch.labels("intake").observe(len(reads))
        self._metrics.taken.labels("stored").inc(len(stored))
        self._metrics.taken.labels("repeated").inc(len(repeated))
        self._metrics.taken.labels("rejected").inc(len(reads) - len(messages))
        self._spilled += self._on_taken(stored)
        for shard in {t.tenant.shard for t in stored if t.targets} - self._sources.keys():
            with suppress(nats.errors.Error):  # they look for themselves within a second
                await self._bus.publish(f"{WAKE_ROOT}.{shard}")
        if repeated:
            doubles = [m.taken for m in messages if m.number in repeated]
            self._on_repeated(doubles)
            await self._explain([t for t in doubles if t.draft.by_gateway and t.draft.event_id])

    async def _explain(self, doubles: Sequence[Taken]) -> None:
        """Reject, for all to see, what a gateway accepted although its event id was known."""
        if not doubles:
            return
        wanted = [(t.tenant.id, t.draft.event_id or "", t.draft.message_id) for t in doubles]
        async with self._pool.acquire() as link:
            known = await store.taken_event_ids(link, wanted)
            for index in known:
                await store.reject(link, _double(doubles[index]))

    def _lose(self, shards: Iterable[int]) -> None:
        for shard in shards:
            source = self._sources.pop(shard, None)
            if source is not None:
                self._by_consumer.pop(source.consumer, None)


def _has_few(source: Source) -> bool:
    return len(source.buffer) <= FEW


def _rejected(read: _Read) -> RejectedEvent:
    """Make the row of an event that cannot become a message."""
    event, draft = read.event, read.draft
    if isinstance(draft, Draft):
        draft = Rejection(reason="unknown_app", detail="no app has this id or uid")
    app = event.subject.split(".", 3)[2:3] if event.subject.startswith("shard.") else []
    return RejectedEvent(
        id=ids.derived_id(ids.REJECTED_EVENT, event.at, f"{event.sequence}".encode()),
        environment_id=None,
        app=_storable(event.headers.get(APP) or "".join(app)),
        subject=_storable(event.subject),
        headers={_storable(name): _storable(value) for name, value in event.headers.items()},
        body=event.body,
        reason=draft.reason,
        detail=_storable(draft.detail),
        sequence=event.sequence,
        created_at=event.at,
    )


def _storable(text: str) -> str:
    """Postgres's text takes everything but NUL and lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _double(taken: Taken) -> RejectedEvent:
    draft = taken.draft
    return RejectedEvent(
        id=ids.derived_id(ids.REJECTED_EVENT, draft.at, draft.message_id.encode()),
        environment_id=taken.tenant.environment_id,
        app=taken.tenant.id,
        subject=f"events.{taken.tenant.id}.{draft.event_type}",
        headers={MESSAGE_ID: draft.message_id, EVENT_ID: draft.event_id or ""},
        body=draft.body,
        reason="duplicate_event_id",
        detail="a message with this event id was accepted before",
        sequence=0,
        created_at=draft.at,
    )
