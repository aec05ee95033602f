"""Dispatchers share the shards by leases in Postgres; who lost one can write nothing under it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType

import pytest
from nats.aio.client import Client

from dispatcher.shards import HANDED_OVER, Shards
from schema import ids
from schema.delivery import Outcome, State, Trigger
from schema.event import Draft
from schema.store import intake, settle
from schema.store import shard as store
from schema.store.link import Link, Pool
from tests import rows
from tests.dispatching import eventually, waits_for_lock
from tests.services import SHARDS

NOW = datetime.now(UTC)
APP, ENDPOINT = ids.new_id(ids.APP, NOW), ids.new_id(ids.ENDPOINT, NOW)
SHARD = ids.shard_of(APP, SHARDS)
LONG_S = 30.0  # no lease of this length runs out within a test


@dataclass(slots=True, kw_only=True)
class Member:
    """A dispatcher, as far as it has shards; `busy` ones have an attempt under way."""

    shards: Shards
    task: asyncio.Task[None]
    gained: list[store.Claim] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)

    def owns(self, number: int) -> bool:
        return len(self.shards.epochs) == number

    async def leave(self) -> None:
        await self._end()
        await self.shards.leave()

    async def die(self) -> None:
        """End without a word."""
        await self._end()

    async def _end(self) -> None:
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


@asynccontextmanager
async def member(
    pool: Pool, bus: Client, name: str, *, lease_s: float = LONG_S
) -> AsyncIterator[Member]:
    """Take part; leaves without a word at the end."""
    gained, lost, busy = list[store.Claim](), list[int](), set[int]()

    async def gain(claims: Sequence[store.Claim]) -> None:
        gained.extend(claims)

    async def lose(shards: Sequence[int]) -> None:
        lost.extend(shards)

    async def retire(_: Sequence[int]) -> None:
        pass

    shards = Shards(
        pool=pool,
        bus=bus,
        name=name,
        lease_s=lease_s,
        on_gained=gain,
        on_kept=lambda *_: None,
        on_lost=lose,
        retire=retire,
        quiet=lambda shard: shard not in busy,
    )

    async def rung(_: object) -> None:
        shards.nudge()

    ring = await bus.subscribe(HANDED_OVER, cb=rung)
    task = asyncio.create_task(shards.run())
    made = Member(shards=shards, task=task, gained=gained, lost=lost, busy=busy)
    try:
        yield made
    finally:
        await made.die()
        await ring.unsubscribe()


async def owners(pool: Pool) -> dict[int, str | None]:
    return {row["id"]: row["owner"] for row in await pool.fetch("SELECT id, owner FROM shard")}


async def test_one_dispatcher_owns_every_shard(pool: Pool, bus: Client) -> None:
    async with member(pool, bus, "d1") as only:
        await eventually(partial(only.owns, SHARDS))

    assert sorted(claim.shard for claim in only.gained) == list(range(SHARDS))
    assert set((await owners(pool)).values()) == {"d1"}


async def test_two_dispatchers_share_evenly_and_no_shard_has_two_owners(
    pool: Pool, bus: Client
) -> None:
    async with member(pool, bus, "d1", lease_s=1.0) as first:
        await eventually(partial(first.owns, SHARDS))

        async with member(pool, bus, "d2", lease_s=1.0) as second:
            await eventually(lambda: first.owns(SHARDS // 2) and second.owns(SHARDS // 2))

            assert not first.shards.epochs.keys() & second.shards.epochs.keys()
            assert first.lost == []


async def test_a_shard_is_kept_until_what_was_begun_for_it_is_settled(
    pool: Pool, bus: Client
) -> None:
    async with member(pool, bus, "d1", lease_s=1.0) as first:
        await eventually(partial(first.owns, SHARDS))
        busy = SHARDS - 1
        first.busy.add(busy)
        async with member(pool, bus, "d2", lease_s=1.0) as second:
            await eventually(lambda: second.owns(SHARDS // 2 - 1))
            assert busy in first.shards.epochs

            first.busy.clear()

            await eventually(lambda: busy in second.shards.epochs)
            assert busy not in first.shards.epochs


async def test_who_leaves_hands_over_at_once(pool: Pool, bus: Client) -> None:
    async with member(pool, bus, "d1") as first:
        await eventually(partial(first.owns, SHARDS))
        async with member(pool, bus, "d2") as second:
            # Nothing of this waits for a lease or a renewal: both are far longer.
            await first.leave()

            await eventually(partial(second.owns, SHARDS), within_s=3)

    assert set((await owners(pool)).values()) == {"d2"}
    assert {claim.epoch for claim in second.gained} == {2}


async def test_who_dies_is_followed_when_its_leases_ran_out_and_not_before(
    pool: Pool, bus: Client
) -> None:
    async with member(pool, bus, "d1", lease_s=1.0) as first:
        await eventually(partial(first.owns, SHARDS))
        await first.die()
        until = await pool.fetchval("SELECT max(lease_until) FROM shard")

        async with member(pool, bus, "d2", lease_s=1.0) as second:
            await eventually(partial(second.owns, SHARDS))
            taken_at = await pool.fetchval("SELECT clock_timestamp()")

        assert until <= taken_at


async def test_what_somebody_else_took_over_is_lost_with_the_next_renewal(
    pool: Pool, bus: Client
) -> None:
    async with member(pool, bus, "d1", lease_s=1.0) as first:
        await eventually(partial(first.owns, SHARDS))

        await pool.execute("UPDATE shard SET owner = 'd2', epoch = epoch + 1 WHERE id < 3")

        await eventually(lambda: sorted(first.lost) == [0, 1, 2])
        assert first.owns(SHARDS - 3)


async def test_the_same_name_takes_its_own_shards_back_at_once_under_a_new_epoch(
    pool: Pool, bus: Client
) -> None:
    async with member(pool, bus, "d1") as former:
        await eventually(partial(former.owns, SHARDS))
        before = dict(former.shards.epochs)
        await former.die()

    async with member(pool, bus, "d1") as again:
        await eventually(partial(again.owns, SHARDS), within_s=3)

        assert again.shards.epochs == {shard: epoch + 1 for shard, epoch in before.items()}


async def test_what_an_older_epoch_settles_is_refused_but_its_attempt_is_logged(
    pool: Pool, bus: Client
) -> None:
    async with pool.acquire() as link:
        message_id = await rows.message(link, APP)
        await rows.delivery(link, APP, message_id, ENDPOINT)
    async with member(pool, bus, "d1") as former:
        await eventually(partial(former.owns, SHARDS))
        before = dict(former.shards.epochs)
        await former.die()
    async with member(pool, bus, "d1") as again, pool.acquire() as link:
        await eventually(partial(again.owns, SHARDS))
        batch = [arrived(message_id)]

        refused = await settle.settle(link, "d1", before, batch, now=NOW, letter_ids=[])
        stood = await link.fetchval("SELECT state FROM delivery")
        moved = await settle.settle(
            link, "d1", again.shards.epochs, [arrived(message_id)], now=NOW, letter_ids=[]
        )

        assert (refused, stood) == ([], "pending")
        assert len(moved) == 1
        assert await link.fetchval("SELECT state FROM delivery") == "delivered"
        assert await link.fetchval("SELECT count(*) FROM attempt") == 2


@pytest.mark.parametrize(
    ("owner", "late"), [("d1", 1), ("d2", 0)], ids=["an older epoch", "another's name"]
)
async def test_what_an_intake_takes_without_the_lease_is_refused_whole(
    pool: Pool, bus: Client, owner: str, late: int
) -> None:
    async with member(pool, bus, "d1") as only, pool.acquire() as link:
        await eventually(partial(only.owns, SHARDS))
        epoch = only.shards.epochs[SHARD]

        fenced, _, moved = await intake.take(link, owner, at(epoch - late, 7), taking())
        kept = await link.fetchval("SELECT position FROM shard WHERE id = $1", SHARD)
        held, repeated, _ = await intake.take(link, "d1", at(epoch, 7), taking())

        assert (fenced, moved, kept) == (set(), {}, 0)
        assert (held, repeated) == ({SHARD}, set())
        assert await link.fetchval("SELECT count(*) FROM message") == 1
        assert await link.fetchval("SELECT position FROM shard WHERE id = $1", SHARD) == 7


async def take_both(link: Link, epochs: dict[int, int]) -> None:
    known = intake.Stored(0, None)
    places = {
        shard: intake.Position(epoch=epoch, sequence=1, stream_at=NOW, known=known, events=1)
        for shard, epoch in epochs.items()
    }
    await intake.take(link, "d1", places, taking())


async def renew_both(link: Link, epochs: dict[int, int]) -> None:
    await store.renew(link, "d1", epochs, LONG_S)


async def release_both(link: Link, epochs: dict[int, int]) -> None:
    await store.release(link, "d1", epochs)


@pytest.mark.parametrize("write", [take_both, renew_both, release_both])
async def test_whoever_writes_several_shards_holds_none_while_it_waits_for_a_smaller_one(
    pool: Pool, write: Callable[[Link, dict[int, int]], Awaitable[None]]
) -> None:
    async with pool.acquire() as link:
        claims = await store.claim(link, "d1", most=2, lease_s=LONG_S, held=())
    first, second = sorted(claim.shard for claim in claims)
    epochs = {claim.shard: claim.epoch for claim in claims}
    async with pool.acquire() as other, other.transaction():
        await other.execute("SELECT FROM shard WHERE id = $1 FOR UPDATE", first)
        async with pool.acquire() as link:
            writing = asyncio.create_task(write(link, {second: epochs[second]} | epochs))
            await eventually(partial(waits_for_lock, pool))

            await other.execute("SELECT FROM shard WHERE id = $1 FOR UPDATE NOWAIT", second)

            writing.cancel()
            await asyncio.wait([writing])


def at(epoch: int, sequence: int) -> MappingProxyType[int, intake.Position]:
    known = intake.Stored(0, None)
    place = intake.Position(epoch=epoch, sequence=sequence, stream_at=NOW, known=known, events=1)
    return MappingProxyType({SHARD: place})


def taking() -> intake.Taking:
    """Give an intake of one event that is owed to one endpoint."""
    made = intake.Taking()
    draft = Draft(
        message_id=ids.new_id(ids.MESSAGE, NOW),
        app=APP,
        environment=None,
        event_type="a.b",
        event_id=None,
        channels=None,
        tags=None,
        body=b"{}",
        content_type="application/json",
        at=NOW,
        by_gateway=False,
    )
    made.fan_out(made.add(SHARD, APP, draft), ENDPOINT, SHARD, foreign=False)
    return made


def arrived(message_id: str) -> settle.Settlement:
    return settle.Settlement(
        app_id=APP,
        message_id=message_id,
        endpoint_id=ENDPOINT,
        state=State.DELIVERED,
        attempts=1,
        failures=0,
        run=0,
        attempt=settle.AttemptRow(
            id=ids.new_id(ids.ATTEMPT, NOW),
            event_type="a.b",
            trigger=Trigger.SCHEDULED,
            verdict="delivered",
            url="https://example.com/",
            started_at=NOW,
            outcome=Outcome(status=200, duration_ms=3),
        ),
    )
