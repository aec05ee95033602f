"""What was accepted is there: counted apart from the deliveries, and told if it is not."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from dispatcher.metrics import Metrics
from dispatcher.parts import Parts
from dispatcher.reconcile import Reconciler
from dispatcher.stream_check import StreamCheck
from schema.delivery import State
from schema.store import reconciliation as store
from schema.store.link import Pool
from schema.task import TaskKind
from tests import rows
from tests.dispatching import (
    World,
    dispatching,
    eventually,
    new_world,
    now,
    parts,
    publish,
    resend,
)
from tests.receiver import Receiver, answer
from tests.services import Services
from tests.tasks import ended, start

pytestmark = pytest.mark.usefixtures("stream")
DAY = timedelta(days=1)
TERMS = ("accepted", "delivered", "owed", "dead", "cancelled", "expired", "difference")


class Books:
    """A world whose deliveries are counted, at times of the test's choice."""

    def __init__(self, world: World, bus: Client) -> None:
        self.world, self.pool, self.bus = world, world.pool, bus
        self.now = now()
        self.metrics = Metrics(CollectorRegistry())

    async def look(self, later: timedelta = timedelta(), *, at_once: int = 1_000) -> None:
        """Count all that is due."""
        self.now = max(self.now, now()) + later
        reconciler = Reconciler(self._parts(), at_once=at_once)
        while await reconciler.once():
            pass

    async def check(self) -> float:
        """Ask the stream; give how many events were missed, all told."""
        await StreamCheck(self._parts()).once()
        return self.metrics.missed._value.get()

    def _parts(self) -> Parts:
        return parts(
            self.pool, self.bus, clock=lambda: self.now, dice=lambda: 0.5, metrics=self.metrics
        )

    async def day(self, app_id: str, day: datetime | None = None) -> dict[str, Any]:
        """Give what is known of an app's day, but for zeros."""
        row = await self.pool.fetchrow(
            "SELECT * FROM reconciliation WHERE app_id = $1 AND day = $2",
            app_id, (day or now()).astimezone(UTC).date(),
        )  # fmt: skip
        return {} if row is None else {name: row[name] for name in TERMS if row[name]}


@pytest_asyncio.fixture
async def books(pool: Pool, bus: Client) -> Books:
    return Books(await new_world(pool), bus)


async def test_what_was_accepted_is_delivered_owed_dead_or_called_off(
    books: Books, bus: Client, services: Services
) -> None:
    world = books.world
    async with Receiver() as receiver:
        receiver.script("/bad", answer(400))
        app_id = await world.app()
        for path, policy in (("/good", [60.0]), ("/bad", [])):
            await world.endpoint(app_id, receiver.url(path), policy=policy)
        paused = await world.endpoint(app_id, receiver.url("/paused"), state="paused")
        async with dispatching(world.pool, services.nats_url):
            for _ in range(3):
                await publish(bus, app_id)

            async def all_went() -> bool:
                return await world.states() == {"delivered": 3, "dead": 3, "pending": 3}

            await eventually(all_went)
        await world.pool.execute(
            """UPDATE delivery SET state = 'cancelled', due_at = NULL, reason = 'by_request'
               WHERE endpoint_id = $1 AND message_id = (SELECT max(id) FROM message)""",
            paused,
        )
        await world.pool.execute(
            """UPDATE delivery SET reason = 'expired' WHERE state = 'dead'
               AND message_id = (SELECT max(id) FROM message)"""
        )

    await books.look()

    assert await books.day(app_id) == {
        "accepted": 9, "delivered": 3, "owed": 2, "dead": 2, "cancelled": 1, "expired": 1,
    }  # fmt: skip
    assert await world.pool.fetchval("SELECT count(*) FROM fanned_out") == 0


async def test_events_that_are_repeated_rejected_or_wanted_by_nobody_are_accepted_for_none(
    books: Books, bus: Client, services: Services
) -> None:
    world = books.world
    app_id = await world.app()
    await world.endpoint(app_id, "http://127.0.0.1:1/", event_types=["x"], state="paused")
    async with dispatching(world.pool, services.nats_url):
        for _ in range(2):
            await publish(bus, app_id, "x", headers={"Hookline-Event-Id": "one"})
        await publish(bus, app_id, "y")
        await publish(bus, app_id, "x", body=b"{")
        await publish(bus, "nobody", "x")
        await world.rejected(2)

    await books.look()

    assert await books.day(app_id) == {"accepted": 1, "owed": 1}


async def test_what_is_sent_to_an_endpoint_that_it_was_not_for_is_accepted_once(
    books: Books, services: Services
) -> None:
    world = books.world
    async with Receiver() as receiver, dispatching(world.pool, services.nats_url) as running:
        app_id = await world.app()
        at = now() - timedelta(milliseconds=100)  # a replay is of what was before it
        yesterday = await rows_of(world, app_id, at - DAY)
        today = await rows_of(world, app_id, at)
        endpoint_id = await world.endpoint(app_id, receiver.url("/late"))
        await ended(
            world,
            await start(
                world, running, kind=TaskKind.REPLAY, app_id=app_id, endpoint_id=endpoint_id
            ),
        )
        await resend(world, running.bus, today)
        await receiver.wait_for(3)
        await world.settled(2)

    await books.look()

    assert await books.day(app_id) == {"accepted": 1, "delivered": 1}
    assert await books.day(app_id, now() - DAY) == {"accepted": 1, "delivered": 1}
    assert yesterday < today


async def test_a_delivery_that_is_lost_is_found_missing_and_told(
    books: Books, bus: Client, services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    world = books.world
    app_id = await world.app()
    await world.endpoint(app_id, "http://127.0.0.1:1/", state="paused")
    async with dispatching(world.pool, services.nats_url):
        for _ in range(3):
            await publish(bus, app_id)

        async def owed() -> bool:
            return await world.states() == {"pending": 3}

        await eventually(owed)
    await world.pool.execute(
        "DELETE FROM delivery WHERE message_id = (SELECT max(id) FROM message)"
    )

    with caplog.at_level(logging.ERROR):
        await books.look()

    assert await books.day(app_id) == {"accepted": 3, "owed": 2, "difference": 1}
    assert "accepted 3 deliveries, and there are 2" in caplog.text
    async with world.pool.acquire() as link:
        assert await store.difference(link) == 1


async def test_a_day_that_is_over_is_closed_and_deliveries_that_nobody_counted_are_found(
    books: Books,
) -> None:
    world = books.world
    app_id, other = await world.app(), await world.app()
    endpoint_id = await world.endpoint(app_id, "http://127.0.0.1:1/")
    day = now()
    async with world.pool.acquire() as link:
        for number, app in enumerate((app_id, app_id, other)):
            message_id = await rows.message(link, app, day)
            state = State.PENDING if number else State.DELIVERED
            await rows.delivery(link, app, message_id, endpoint_id, state)
        await link.execute(
            "INSERT INTO fanned_out VALUES ($1, $2, '{2}')", [app_id], [day.astimezone(UTC).date()]
        )

    await books.look()
    present = await books.day(app_id, day)
    unknown = await books.day(other, day)
    await books.look(DAY + timedelta(minutes=10))
    await world.pool.execute(
        "UPDATE delivery SET state = 'delivered', due_at = NULL WHERE app_id = $1", app_id
    )
    owing = await books.day(app_id, day)
    await books.look(DAY)

    assert present == owing == {"accepted": 2, "delivered": 1, "owed": 1}
    assert unknown == {}
    assert await books.day(app_id, day) == {"accepted": 2, "delivered": 2}
    assert await books.day(other, day) == {"owed": 1, "difference": -1}
    closed = await world.pool.fetch("SELECT app_id FROM reconciliation WHERE due_at IS NULL")
    assert [row["app_id"] for row in closed] == [app_id]


async def test_a_large_day_is_counted_stretch_by_stretch(books: Books) -> None:
    app_id = await books.world.app()
    endpoint_id = await books.world.endpoint(app_id, "http://127.0.0.1:1/")
    midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
    day = [midnight + n * timedelta(hours=2) for n in range(12)]
    edges = [midnight - timedelta(milliseconds=4), midnight + DAY]
    async with books.pool.acquire() as link:
        for at in (*day, *edges):
            await rows.delivery(link, app_id, await rows.message(link, app_id, at), endpoint_id)
        await link.execute(
            "INSERT INTO fanned_out VALUES ($1, $2, '{12}')", [app_id], [midnight.date()]
        )

    await books.look(at_once=3)

    assert await books.day(app_id, midnight) == {"accepted": 12, "owed": 12}


async def test_days_that_retention_may_have_dropped_are_counted_no_more(books: Books) -> None:
    app_id = await books.world.app()
    day = now().astimezone(UTC).date()
    await books.pool.execute("INSERT INTO fanned_out VALUES ($1, $2, '{5}')", [app_id], [day])
    await books.look()
    assert (await books.day(app_id))["difference"] == 5

    await books.pool.execute("UPDATE reconciliation SET accepted = 0, due_at = now()")
    await books.look(30 * DAY)

    assert await books.pool.fetchval("SELECT due_at FROM reconciliation") is None
    assert (await books.day(app_id))["difference"] == 5
    await books.pool.execute("INSERT INTO fanned_out VALUES ($1, $2, '{5}')", [app_id], [day])
    await books.look(61 * DAY)
    assert await books.day(app_id) == {}


async def test_events_of_the_stream_are_counted_against_those_that_were_taken(
    books: Books, bus: Client, services: Services
) -> None:
    world = books.world
    app_id = await world.app()
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await publish(bus, "nobody-1")
        await world.rejected(1)
        await _taken(world, 2)
        assert await books.check() == 0
        for number in range(20):
            await publish(bus, app_id if number % 2 else "nobody-1")
        await _taken(world, 22)

    assert await books.check() == 0
    await world.pool.execute("UPDATE shard SET counted_from = 0")
    # As if the intake had counted one less of all that it took since the stream began.
    await world.pool.execute(
        "UPDATE shard_check SET position = 0, taken = 1 WHERE shard = $1", world.shard(app_id)
    )

    assert await books.check() == 1
    # A former version moves the position and counts nothing.
    await world.pool.execute("UPDATE shard SET counted_to = counted_to - 1")
    await world.pool.execute("UPDATE shard_check SET position = position - 1")
    async with dispatching(world.pool, services.nats_url):
        for _ in range(3):
            await publish(bus, app_id)
            await publish(bus, "nobody-1")
        await _taken(world, 6)
    assert await books.check() == 1


async def _taken(world: World, number: int) -> None:
    async def enough() -> bool:
        return await world.pool.fetchval("SELECT sum(taken) FROM shard") == number

    await eventually(enough)


async def rows_of(world: World, app_id: str, at: datetime) -> str:
    async with world.pool.acquire() as link:
        return await rows.message(link, app_id, at)
