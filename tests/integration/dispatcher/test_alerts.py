"""Rules are looked at as they are stored, on what Postgres has: raised once, cleared once."""

from datetime import datetime, timedelta
from typing import Any

import pytest_asyncio
from nats.aio.client import Client

from dispatcher.alerts import Alerts
from schema import ids
from schema.store import alert as store
from schema.store.link import Pool
from tests.dispatching import World, config, new_world, now, parts
from tests.operators import listening, told

RAISED, UPDATED, CLEARED = "alert.raised", "alert.updated", "alert.cleared"


class Lookout:
    """A world whose rules are looked at, at times of the test's choice."""

    def __init__(self, world: World, bus: Client) -> None:
        self.world, self.pool = world, world.pool
        self.now = now()
        self._alerts = Alerts(
            parts(
                world.pool,
                bus,
                config(alert_update_s=300.0),
                clock=lambda: self.now,
                dice=lambda: 0.5,
            )
        )

    async def look(self, later: timedelta = timedelta()) -> list[dict[str, Any]]:
        """Look at all rules; give what that told."""
        self.now += later
        before = len(await told(self.pool))
        await self._alerts.once()
        return (await told(self.pool))[before:]

    async def only(self, kind: str, **changes: object) -> None:
        """Leave one of the rules that an environment starts with."""
        await self.pool.execute("DELETE FROM alert_rule WHERE kind <> $1", kind)
        if changes:
            columns = ", ".join(f"{column} = ${n}" for n, column in enumerate(changes, 1))
            await self.pool.execute(f"UPDATE alert_rule SET {columns}", *changes.values())

    async def parked(self, number: int, app_id: str, at: datetime | None = None) -> str:
        """Park letters of one group; give the endpoint."""
        endpoint_id = await self.world.endpoint(app_id, "http://127.0.0.1:9/")
        messages = await self.world.owe(app_id, endpoint_id, number)
        await self.pool.execute(
            """INSERT INTO dead_letter (environment_id, app_id, id, message_id, endpoint_id, reason,
                   event_type, content_type, url, fingerprint, attempts, message_at, parked_at,
                   updated_at)
               SELECT $1, $2, m.letter, m.id, $3, 'exhausted', 'a.b', '', '', 'f', 1, $4, $4, $4
               FROM unnest($5::text[], $6::text[]) AS m(id, letter)""",
            self.world.environment_id, app_id, endpoint_id, at or self.now, messages,
            [ids.new_id(ids.DEAD_LETTER, at or self.now) for _ in messages],
        )  # fmt: skip
        return endpoint_id

    async def rolled(
        self, app_id: str, delivered: int, failed: int, ago: timedelta = timedelta()
    ) -> str:
        """Count attempts to an endpoint; give it."""
        endpoint_id = await self.world.endpoint(app_id, "http://127.0.0.1:9/")
        await self.pool.execute(
            """INSERT INTO rollup_minute (app_id, endpoint_id, bucket, delivered, status_5xx)
               VALUES ($1, $2, date_trunc('minute', $3::timestamptz), $4, $5)""",
            app_id, endpoint_id, self.now - ago, delivered, failed,
        )  # fmt: skip
        return endpoint_id


@pytest_asyncio.fixture
async def lookout(pool: Pool, bus: Client) -> Lookout:
    world = await new_world(pool)
    await listening(world)
    return Lookout(world, bus)


async def test_an_environment_starts_with_a_rule_of_each_kind(lookout: Lookout) -> None:
    rules = await lookout.pool.fetch("SELECT * FROM alert_rule ORDER BY kind")

    assert [rule["kind"] for rule in rules] == [
        "failure_percent", "oldest_parked_s", "parked_count", "parked_per_minute",
    ]  # fmt: skip
    assert {rule["environment_id"] for rule in rules} == {lookout.world.environment_id}
    assert all(ids.is_id(ids.ALERT_RULE, rule["id"]) for rule in rules)


async def test_a_storm_of_a_thousand_letters_is_one_alert_and_its_end_another(
    lookout: Lookout,
) -> None:
    await lookout.only("parked_count")
    app_id = await lookout.world.app(uid="acme")
    await lookout.parked(1_000, app_id)

    (raised,) = await lookout.look()
    between = [await lookout.look(timedelta(minutes=1)) for _ in range(3)]
    await lookout.pool.execute("UPDATE dead_letter SET state = 'discarded'")
    (cleared,) = await lookout.look()
    after = await lookout.look()

    assert (raised["kind"], cleared["kind"]) == (RAISED, CLEARED)
    assert between == [[], [], []]
    assert after == []
    assert raised["channels"] == cleared["channels"] == [app_id]
    data = raised["data"]
    assert (data["raised"], data["cleared"], data["open"]) == (1, 0, 1)
    assert data["rule"]["kind"] == "parked_count"
    (alert,) = data["alerts"]
    assert (alert["appId"], alert["appUid"], alert["value"]) == (app_id, "acme", 1_000)
    assert cleared["data"]["alerts"][0]["clearedAt"] is not None


async def test_many_apps_in_a_storm_are_one_alert_and_those_that_follow_one_update(
    lookout: Lookout,
) -> None:
    await lookout.only("parked_count", threshold=10, clear_below=8)
    first = [await lookout.world.app() for _ in range(12)]
    for app_id in first:
        await lookout.parked(10, app_id)
    (raised,) = await lookout.look()
    for _ in range(3):
        await lookout.parked(10, await lookout.world.app())

    soon = await lookout.look(timedelta(minutes=1))
    (update,) = await lookout.look(timedelta(minutes=4))

    assert (raised["data"]["raised"], len(raised["data"]["alerts"])) == (12, 10)
    assert len(raised["channels"]) == 10
    assert soon == []
    assert (update["kind"], update["data"]["raised"], update["data"]["open"]) == (UPDATED, 3, 15)


async def test_letters_of_a_snoozed_group_raise_nothing_until_its_time_is_over(
    lookout: Lookout,
) -> None:
    await lookout.only("parked_count", threshold=5, clear_below=5)
    await lookout.parked(5, await lookout.world.app())
    await lookout.pool.execute(
        "UPDATE dead_letter_group SET state = 'snoozed', snoozed_until = $1",
        lookout.now + timedelta(hours=1),
    )

    during, after = await lookout.look(), await lookout.look(timedelta(hours=1))

    assert during == []
    assert [notice["kind"] for notice in after] == [RAISED]


async def test_letters_that_arrive_fast_are_told_by_the_minute(lookout: Lookout) -> None:
    await lookout.only("parked_per_minute", threshold=20, clear_below=10, window_s=300)
    app_id = await lookout.world.app()
    await lookout.parked(99, app_id, lookout.now - timedelta(minutes=2))

    before = await lookout.look()
    await lookout.parked(1, app_id)
    (raised,) = await lookout.look()
    (cleared,) = await lookout.look(timedelta(minutes=5))

    assert before == []
    assert raised["data"]["alerts"][0]["value"] == 20
    assert cleared["kind"] == CLEARED


async def test_the_oldest_letter_counts_from_when_it_was_parked(lookout: Lookout) -> None:
    await lookout.only("oldest_parked_s")
    app_id = await lookout.world.app()
    await lookout.parked(2, app_id, lookout.now - timedelta(hours=23))
    await lookout.parked(2, app_id)

    before, (raised,) = await lookout.look(), await lookout.look(timedelta(hours=1))

    assert before == []
    assert raised["data"]["alerts"][0]["value"] == 86_400


async def test_an_endpoint_that_fails_more_than_it_may_is_told_if_it_was_tried_enough(
    lookout: Lookout,
) -> None:
    await lookout.only("failure_percent")
    app_id = await lookout.world.app()
    failing = await lookout.rolled(app_id, delivered=10, failed=10)
    await lookout.rolled(app_id, delivered=11, failed=10)
    await lookout.rolled(app_id, delivered=0, failed=19)
    await lookout.rolled(app_id, delivered=0, failed=99, ago=timedelta(minutes=20))

    (raised,) = await lookout.look()

    (alert,) = raised["data"]["alerts"]
    assert (alert["endpointId"], alert["value"]) == (failing, 50)


async def test_a_rule_of_some_apps_passes_the_others_by(lookout: Lookout) -> None:
    apps = [await lookout.world.app() for _ in range(2)]
    await lookout.only("parked_count", threshold=5, clear_below=5, app_ids=[apps[1]])
    for app_id in apps:
        await lookout.parked(5, app_id)

    (raised,) = await lookout.look()

    assert [alert["appId"] for alert in raised["data"]["alerts"]] == [apps[1]]


async def test_a_rule_that_is_switched_off_is_over(lookout: Lookout) -> None:
    await lookout.only("parked_count", threshold=5, clear_below=5)
    await lookout.parked(5, await lookout.world.app())
    await lookout.look()
    await lookout.pool.execute("UPDATE alert_rule SET enabled = false")

    told_now = await lookout.look()

    assert [notice["kind"] for notice in told_now] == [CLEARED]
    assert await lookout.pool.fetchval("SELECT count(*) FROM alert") == 0


async def test_one_at_a_time_looks(lookout: Lookout) -> None:
    await lookout.only("parked_count", threshold=5, clear_below=5)
    await lookout.parked(5, await lookout.world.app())
    async with lookout.pool.acquire() as link, link.transaction():
        assert await store.try_lock(link)

        during = await lookout.look()

    assert during == []
    assert len(await lookout.look()) == 1


async def test_an_app_that_is_deleted_raises_nothing_any_more(lookout: Lookout) -> None:
    await lookout.pool.execute("UPDATE alert_rule SET threshold = 1, clear_below = 1")
    app_id = await lookout.world.app()
    await lookout.parked(20, app_id)
    await lookout.rolled(app_id, delivered=0, failed=100)
    raised = await lookout.look(timedelta(seconds=10))

    await lookout.pool.execute("UPDATE app SET deleted_at = now() WHERE id = $1", app_id)
    after = await lookout.look()

    assert [notice["kind"] for notice in raised] == [RAISED] * 4
    assert [notice["kind"] for notice in after] == [CLEARED] * 4


async def test_what_becomes_of_operational_webhooks_raises_nothing(lookout: Lookout) -> None:
    app_id = await lookout.pool.fetchval("SELECT id FROM app WHERE kind = 'operational'")
    await lookout.rolled(app_id, delivered=0, failed=100)

    assert await lookout.look() == []
