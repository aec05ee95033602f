"""What two batches both hold is written in one order: neither waits for the other for ever."""

import asyncio
from collections.abc import Sequence

from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from dispatcher.feed import Feed
from dispatcher.metrics import Metrics
from dispatcher.source import CROWDED, Source
from schema.event import STREAM, Draft, Event, read_event
from schema.store import intake, shard
from schema.store.link import Pool
from tests import rows
from tests.dispatching import eventually, now, waiting
from tests.services import SHARDS

OWNER = "d1"
FIRST, SECOND = 2, 5  # shards
MOST = 256


def event(of: int, app: str, sequence: int) -> Event:
    subject = f"shard.{of}.{app}.a.b"
    return Event(subject=subject, headers={}, body=b"{}", sequence=sequence, at=now())


def draft_of(event: Event) -> Draft:
    draft = read_event(event, max_bytes=100)
    assert isinstance(draft, Draft)
    return draft


async def feed_of(pool: Pool, bus: Client, *shards: int) -> Feed:
    """Make a feed of shards that are crowded and have bypasses; the last is next to be served."""
    feed = Feed(bus=bus, stream=STREAM, counts=Metrics(CollectorRegistry()).crowds)
    async with pool.acquire() as link:
        claims = await shard.claim(link, OWNER, most=SHARDS, lease_s=10.0, held=())
    feed.add([claim for claim in claims if claim.shard in shards])
    for source in feed.sources.values():
        source.pending = CROWDED + 1
    for number in reversed(shards):
        feed._bypasses.by_shard[number] = feed.sources[number].bypass(["victim"])
    for some in feed._some.values():
        some.set()
    return feed


async def write(pool: Pool, batch: Sequence[tuple[Source, Event]]) -> intake.Answer:
    """Write a batch in its order, as the intake does."""
    taking, positions = intake.Taking(), dict[int, intake.Position]()
    for source, taken in batch:
        draft = draft_of(taken)
        taking.add(source.shard, draft.app, draft)
        positions[source.shard] = intake.Position(
            epoch=source.epoch,
            sequence=taken.sequence,
            stream_at=source.stream_at,
            known=source.stored,
            events=1,
            beside=source.passes is not None,
        )
    async with pool.acquire() as link:
        return await intake.take(link, OWNER, positions, taking)


async def test_batches_with_the_same_events_of_two_shards_are_written_one_behind_the_other(
    pool: Pool, bus: Client
) -> None:
    feed = await feed_of(pool, bus, FIRST, SECOND)
    between = event(FIRST, "crowd", 2)
    for victim in (event(FIRST, "victim", 1), event(SECOND, "victim", 3)):
        number = int(victim.subject.split(".")[1])
        feed._bypasses.by_shard[number].buffer.append(victim)
        feed.sources[number].buffer.append(victim)
    feed.sources[FIRST].buffer.append(between)

    async with (
        feed.batch(few=False, most=MOST) as many,
        feed.batch(few=True, most=MOST) as few,
        pool.acquire() as link,
        asyncio.TaskGroup() as group,
        link.transaction(),
    ):
        # The first batch stops behind the victim's event of one shard, before that of the other.
        draft = draft_of(between)
        await rows.message(link, draft.app, id=draft.message_id)
        writing = [group.create_task(write(pool, many))]
        await eventually(lambda: waiting(pool, 1))
        writing.append(group.create_task(write(pool, few)))
        await eventually(lambda: waiting(pool, 2))

    assert [len(batch) for batch in (many, few)] == [3, 2]
    assert [task.result().fenced for task in writing] == [{FIRST, SECOND}] * 2
    assert await pool.fetchval("SELECT count(*) FROM message") == 3
