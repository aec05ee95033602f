"""Takes events in: from the stream into message and delivery rows, a batch in one statement.

What was taken goes straight into the lanes of the shards that we own; work for others is written to
`wake` and rung for. A few events of a shard are taken beside the large batches of a flood; so are
those that a bypass brings, which the shard's own source brings again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import nats.errors

from dispatcher.breath import Breath
from dispatcher.catalogue import Catalogue, Checks
from dispatcher.feed import Feed
from dispatcher.match import Directory, Target, Tenant
from dispatcher.parts import Parts
from dispatcher.reject import UNKNOWN_APP, UNKNOWN_ENDPOINT, doubled, rejected
from dispatcher.source import Source
from schema.errors import Unavailable
from schema.event import WAKE_ROOT, Draft, Event, Rejection, read_event
from schema.store import intake as store
from schema.store.pool import REFUSALS, reachable

_PAUSE_S: Final = 0.5  # between tries while Postgres is away
_log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A message that is stored and owed to these targets."""

    draft: Draft
    tenant: Tenant
    targets: Sequence[Target]


class _Read(NamedTuple):
    """An event of a batch, read: a draft with its tenant, or why not.

    What has `passed` a bypass took before.
    """

    source: Source
    event: Event
    draft: Draft | Rejection
    tenant: Tenant | None = None
    passed: bool = False


class _Numbered(NamedTuple):
    """A message of a batch: its number in the statement, and how it was read."""

    number: int
    read: _Read
    taken: Taken


class Intake:
    """Turns the events of the shards that we own into rows."""

    def __init__(
        self,
        given: Parts,
        *,
        feed: Feed,
        directory: Directory,
        catalogue: Catalogue,
        sync: Callable[[], Awaitable[None]],
        on_taken: Callable[[Sequence[Taken]], int],
        on_repeated: Callable[[Sequence[Taken]], None],
        on_by_hand: Callable[[Sequence[Taken]], None],
        settled_per_s: Callable[[], float],
    ) -> None:
        """Take nothing until `run`.

        Args:
            given: Postgres, NATS, limits and metrics.
            feed: Where events come from.
            directory: What apps and endpoints there are.
            catalogue: What payloads are held to.
            sync: Brings every change of configuration that was committed by now.
            on_taken: Told of the messages of each batch once they are stored; tells how many
                deliveries had no room in memory.
            on_repeated: Told of those that had been stored before, or had a known event id.
            on_by_hand: Told of those that are tried once, as if by hand.
            settled_per_s: How fast deliveries are settled of late.
        """
        self._pool = given.pool
        self._bus = given.bus
        self._clock = given.clock
        self._config = given.config
        self._metrics = given.metrics
        self._feed = feed
        self._directory = directory
        self._catalogue = catalogue
        self._sync = sync
        self._on_taken = on_taken
        self._on_repeated = on_repeated
        self._on_by_hand = on_by_hand
        self._settled_per_s = settled_per_s
        self._breath = Breath(rest=given.config.flood_rest)
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Take events in, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._work(few=True), name="intake-few")
            group.create_task(self._work(few=False), name="intake-many")

    async def _work(self, *, few: bool) -> None:
        """Take in what waits, of the shards where few events do or of those with many.

        Both go on at a time, so that a few do not wait for the large batches of a flood.
        """
        while True:
            wait_s = 0.0
            async with self._feed.batch(few=few, most=self._config.intake_batch) as batch:
                if batch:
                    wait_s = await self._take_in_turn(batch, few=few)
            await asyncio.sleep(wait_s)  # deliveries go between batches

    async def _take_in_turn(self, batch: Sequence[tuple[Source, Event]], *, few: bool) -> float:
        """Take a batch in; say how long to leave the process to everything else."""
        sources = {(source.shard, source.passes is not None) for source, _ in batch}
        began = self._loop.time()
        await self._take(batch)
        now = self._loop.time()
        if few:
            self._breath.few(sources, now)
            return 0.0
        rest = self._breath.after(
            sources, now - began, now=now, settled_per_s=self._settled_per_s()
        )
        self._metrics.flood_rested.inc(rest.for_others_s)
        return rest.wait_s

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
        """Write a batch, and go by what Postgres says of each shard's position."""
        taking, messages = self._fill(reads)
        last = {source.shard: (source, event.sequence) for source, event in batch}
        numbers = Counter(source.shard for source, _ in batch)
        positions = {
            shard: _position(source, sequence, numbers[shard])
            for shard, (source, sequence) in last.items()
        }
        async with self._pool.acquire() as link:
            answer = await store.take(link, self._config.name, positions, taking)
        for source, sequence in last.values():
            self._go_on(source, sequence, answer)
        written = [read for read in reads if read.source.shard in answer.fenced]
        for read in written:
            if read.source.known or read.source.passes is not None:
                read.source.became(read.event, _rejection(read))
        await self._report(
            [read for read in written if not read.passed],
            [message for message in messages if message.read.source.shard in answer.fenced],
            answer.repeated,
            once=bool(taking.once),
        )

    def _go_on(self, source: Source, sequence: int, answer: store.Answer) -> None:
        """Go by what Postgres says of a source whose events stood in a batch."""
        if source.shard in answer.fenced:
            source.wrote(sequence, self._loop.time())
        elif source.shard in answer.moved:
            self._feed.rewind(source, answer.moved[source.shard])
        elif source.serves(self._feed.sources.get(source.shard)):
            self._feed.lose([source.shard])

    def _fill(self, reads: Sequence[_Read]) -> tuple[store.Taking, list[_Numbered]]:
        """Make the rows of a batch."""
        taking, messages = store.Taking(), list[_Numbered]()
        for read in reads:
            why = _rejection(read)
            if why is not None:
                environment = None if read.tenant is None else read.tenant.environment_id
                taking.reject(read.source.shard, rejected(read.event, why, environment))
            elif isinstance(read.draft, Draft) and read.tenant is not None:
                number, taken = self._fan_out(taking, read, read.draft, read.tenant)
                messages.append(_Numbered(number, read, taken))
        return taking, messages

    async def _read(
        self, batch: Sequence[tuple[Source, Event]], refusal: Rejection | None
    ) -> list[_Read]:
        """Read events with the apps that they are for; `refusal` is known of the only one."""
        if refusal is not None:
            return [_Read(source=s, event=e, draft=refusal) for s, e in batch]
        await self._sync()
        most = self._config.max_payload_bytes
        drafts = [read_event(event, max_bytes=most) for _, event in batch]
        keys = [(d.environment, d.app) if isinstance(d, Draft) else None for d in drafts]
        tenants = await self._directory.find({k for k in keys if k is not None}, self._clock())
        reads = [
            _Read(source, event, draft, tenants.get(key) if key is not None else None)
            for (source, event), draft, key in zip(batch, drafts, keys, strict=True)
        ]
        checks = await self._catalogue.checks({t.environment_id for t in tenants.values()})
        # A bypass may have come first while this was waited for: it is looked for at the end.
        if checks or any(source.known for source, _ in batch):
            reads = [self._judged(read, checks) for read in reads]
        return reads

    def _judged(self, read: _Read, checks: Mapping[str, Checks]) -> _Read:
        """Say what an event is: what a bypass made of it, or what its event type's schema says."""
        known = read.source.known
        if read.event.sequence in known:
            return read._replace(draft=known[read.event.sequence] or read.draft, passed=True)
        if read.tenant is None or not isinstance(read.draft, Draft):
            return read
        environment_id = read.tenant.environment_id
        found = checks.get(environment_id)
        why = self._catalogue.judge(found, environment_id, read.draft) if found else None
        return read if why is None else read._replace(draft=why)

    def _fan_out(
        self, taking: store.Taking, read: _Read, draft: Draft, tenant: Tenant
    ) -> tuple[int, Taken]:
        number = taking.add(read.source.shard, tenant.id, draft)
        foreign = tenant.shard not in self._feed.sources
        targets = _targets(draft, tenant)
        for target in targets:
            # What is for later has no place: it would hold up all that comes behind it. Nor has a
            # test: it waits for nothing.
            placed = target.ordered and draft.deliver_at is None and not draft.once
            place = None
            if placed:
                place = store.place_of(read.source.stream_at, read.event.sequence)
            taking.fan_out(number, target.id, tenant.shard, foreign=foreign, place=place)
        return number, Taken(draft=draft, tenant=tenant, targets=targets)

    async def _report(
        self,
        reads: Sequence[_Read],
        messages: Sequence[_Numbered],
        repeated: set[int],
        *,
        once: bool,
    ) -> None:
        """Tell of what was stored, ring for others, and explain what was not stored.

        What a bypass brought before is repeated, and all is known of it.
        """
        stored = [m.taken for m in messages if m.number not in repeated]
        doubles = [m.taken for m in messages if m.number in repeated and not m.read.passed]
        self._count(reads, stored=len(stored), repeated=len(doubles))
        if doubles:
            # First: what an order has in Postgres goes before what was stored behind it.
            self._on_repeated(doubles)
        self._breath.spilled(self._on_taken(self._by_hand(stored) if once else stored))
        for shard in {t.tenant.shard for t in stored if t.targets} - self._feed.sources.keys():
            with suppress(nats.errors.Error):  # they look for themselves within a second
                await self._bus.publish(f"{WAKE_ROOT}.{shard}")
        await self._explain([t for t in doubles if t.draft.by_gateway and t.draft.event_id])

    def _count(self, reads: Sequence[_Read], *, stored: int, repeated: int) -> None:
        self._metrics.batch.labels("intake").observe(len(reads))
        self._metrics.taken.labels("stored").inc(stored)
        self._metrics.taken.labels("repeated").inc(repeated)
        self._metrics.taken.labels("rejected").inc(sum(_rejection(r) is not None for r in reads))
        self._metrics.bypassed.inc(sum(read.source.passes is not None for read in reads))

    def _by_hand(self, stored: Sequence[Taken]) -> list[Taken]:
        """Have read back what is tried once, as what is sent by hand; give the rest."""
        self._on_by_hand([taken for taken in stored if taken.draft.once])
        return [taken for taken in stored if not taken.draft.once]

    async def _explain(self, doubles: Sequence[Taken]) -> None:
        """Reject, for all to see, what a gateway accepted although its event id was known."""
        if not doubles:
            return
        wanted = [(t.tenant.id, t.draft.event_id or "", t.draft.message_id) for t in doubles]
        async with self._pool.acquire() as link:
            known = await store.taken_event_ids(link, wanted)
            for index in known:
                draft, tenant, _ = doubles[index]
                row = doubled(draft, app_id=tenant.id, environment_id=tenant.environment_id)
                await store.reject(link, row)


def _position(source: Source, sequence: int, events: int) -> store.Position:
    return store.Position(
        epoch=source.epoch,
        sequence=sequence,
        stream_at=source.stream_at,
        known=source.stored,
        events=events,
        beside=source.passes is not None,
    )


def _rejection(read: _Read) -> Rejection | None:
    """Say why an event becomes no message, if it does not."""
    if isinstance(read.draft, Rejection):
        return read.draft
    if read.passed:
        return None  # a message, whatever has become of its app and endpoint since
    if read.tenant is None:
        return UNKNOWN_APP
    named = read.draft.endpoint_id
    return UNKNOWN_ENDPOINT if named is not None and named not in read.tenant.targets else None


def _targets(draft: Draft, tenant: Tenant) -> list[Target]:
    """Say for which endpoints a message is: the one that it names, or all that take it."""
    if draft.endpoint_id is not None:
        named = tenant.targets.get(draft.endpoint_id)
        return [] if named is None else [named]
    return [
        target
        for target in tenant.targets.values()
        if target.matches(draft.event_type, draft.channels)
    ]
