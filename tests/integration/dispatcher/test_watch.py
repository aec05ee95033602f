"""Endpoints are judged by their minutes: states, warnings, disabling, and the history."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from dispatcher.mail import read_server
from dispatcher.metrics import Metrics
from dispatcher.watch import Watch
from schema.store import alert_mail
from schema.store.link import Pool
from tests.dispatching import World, config, dispatching, eventually, new_world, now, parts
from tests.operators import listening, told
from tests.services import Services

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
LONG_FAILING = (5 * DAY, 4 * DAY, 3 * DAY, DAY, 20 * MINUTE, 0 * MINUTE)


class Lookout:
    """A world whose endpoints are looked at, at times of the test's choice."""

    def __init__(self, world: World, bus: Client) -> None:
        self.world, self.pool, self.bus = world, world.pool, bus
        self.now = now()
        self.metrics = Metrics(CollectorRegistry())

    def watch(self, **changes: Any) -> Watch:
        """Give one that knows nothing: as a dispatcher does that has just begun."""
        return Watch(
            parts(
                self.pool,
                self.bus,
                config(**changes),
                clock=lambda: self.now,
                dice=lambda: 0.5,
                metrics=self.metrics,
            )
        )

    async def look(self, later: timedelta = timedelta(), **changes: Any) -> list[dict[str, Any]]:
        """Look at all endpoints; give what that told of their health."""
        self.now += later
        before = len(await told(self.pool))
        await self.watch(**changes).once()
        return (await told(self.pool))[before:]

    async def roll(
        self, place: tuple[str, str], *, delivered: int = 0, failed: int = 0, at: datetime
    ) -> None:
        """Count attempts in the minute of a time."""
        await self.pool.execute(
            """INSERT INTO rollup_minute AS r (app_id, endpoint_id, bucket, delivered, status_5xx)
               VALUES ($1, $2, date_trunc('minute', $3::timestamptz), $4, $5)
               ON CONFLICT (app_id, endpoint_id, bucket) DO UPDATE
               SET delivered = r.delivered + $4, status_5xx = r.status_5xx + $5""",
            *place, at, delivered, failed,
        )  # fmt: skip

    async def place(self) -> tuple[str, str]:
        """Make an endpoint."""
        app_id = await self.world.app(uid="acme")
        return app_id, await self.world.endpoint(app_id, "http://127.0.0.1:9/")

    async def fails(
        self, place: tuple[str, str], lasting: timedelta, *, every: timedelta
    ) -> list[dict[str, Any]]:
        """Have an endpoint fail from now on, looked at after each attempt; give what was told."""
        said = []
        until = self.now + lasting
        while self.now < until:
            await self.roll(place, failed=2, at=self.now)
            said += await self.look(timedelta(seconds=15))
            self.now += every
        return said

    async def health(self, place: tuple[str, str]) -> dict[str, Any]:
        row = await self.pool.fetchrow(
            "SELECT * FROM endpoint_health WHERE app_id = $1 AND endpoint_id = $2", *place
        )
        return dict(row or {"state": "healthy"})

    async def history(self, place: tuple[str, str]) -> list[tuple[str | None, str, str, str]]:
        rows = await self.pool.fetch(
            """SELECT state_was, state, state_by, reason FROM endpoint_health_change
               WHERE app_id = $1 AND endpoint_id = $2 ORDER BY number""",
            *place,
        )
        return [tuple(row) for row in rows]

    async def state(self, place: tuple[str, str]) -> tuple[str, str]:
        """Give the state of the endpoint itself, and why."""
        row = await self.pool.fetchrow(
            "SELECT state, state_reason FROM endpoint WHERE app_id = $1 AND id = $2", *place
        )
        assert row is not None
        return row["state"], row["state_reason"]


@pytest_asyncio.fixture
async def lookout(pool: Pool, bus: Client) -> Lookout:
    world = await new_world(pool)
    await listening(world)
    return Lookout(world, bus)


def kinds(notices: list[dict[str, Any]]) -> list[str]:
    return [notice["kind"] for notice in notices]


async def test_states_follow_what_the_minutes_say(lookout: Lookout) -> None:
    place, start = await lookout.place(), lookout.now
    states = []

    for at, delivered, failed in ((0, 50, 50), (20, 0, 3), (26, 0, 3), (30, 9, 0), (50, 9, 0)):
        lookout.now = start + at * MINUTE
        await lookout.roll(place, delivered=delivered, failed=failed, at=lookout.now)
        await lookout.look()
        states.append((await lookout.health(place))["state"])

    assert states == ["degraded", "healthy", "failing", "degraded", "healthy"]
    assert await lookout.history(place) == [
        ("healthy", "degraded", "hookline", "some_failures"),
        ("degraded", "healthy", "hookline", "few_failures"),
        ("healthy", "failing", "hookline", "only_failures"),
        ("failing", "degraded", "hookline", "delivered"),
        ("degraded", "healthy", "hookline", "few_failures"),
    ]


async def test_that_one_fails_and_that_it_is_back_is_told_once_each(lookout: Lookout) -> None:
    place = await lookout.place()
    began = lookout.now

    failing = await lookout.fails(place, 30 * MINUTE, every=MINUTE)
    await lookout.roll(place, delivered=1, at=lookout.now)
    back = await lookout.look()
    after = await lookout.look(MINUTE)

    assert kinds(failing) == ["endpoint.failing"]
    assert kinds(back) == ["endpoint.recovered"]
    assert after == []
    said = failing[0]["data"]
    assert (said["appId"], said["endpointId"], said["appUid"]) == (*place, "acme")
    since = datetime.fromisoformat(said["failSince"])
    assert since == began.replace(second=0, microsecond=0)
    assert datetime.fromisoformat(said["disableAt"]) == since + 5 * DAY
    assert datetime.fromisoformat(back[0]["data"]["failSince"]) == since


async def test_an_endpoint_that_fails_for_five_days_is_warned_of_and_then_disabled(
    lookout: Lookout,
) -> None:
    """Tried four times a day, by dispatchers that live for one look each."""
    place, began = await lookout.place(), lookout.now
    said: list[tuple[timedelta, dict[str, Any]]] = []

    while (await lookout.state(place))[0] == "active" and lookout.now < began + 7 * DAY:
        await lookout.roll(place, failed=1, at=lookout.now)
        said += [(lookout.now - began, one) for one in await lookout.look(timedelta(seconds=15))]
        said += [(lookout.now - began, one) for one in await lookout.look(6 * HOUR)]

    assert await lookout.state(place) == ("disabled", "failing")
    assert kinds([one for _, one in said]) == [
        "endpoint.failing", "endpoint.disabling", "endpoint.disabled",
    ]  # fmt: skip
    (_, (warned, warning), (ended, end)) = said
    assert 4 * DAY <= warned + MINUTE <= 4 * DAY + 7 * HOUR
    assert ended >= 5 * DAY - MINUTE
    assert DAY <= ended - warned <= DAY + 7 * HOUR
    assert datetime.fromisoformat(warning["data"]["disableAt"]) >= began + warned + DAY - MINUTE
    assert (end["data"]["trigger"], end["data"]["reason"]) == ("automatic", "failing")
    assert end["data"]["failSince"] == warning["data"]["failSince"]
    assert lookout.metrics.disabled._value.get() == 1
    assert (await lookout.history(place))[-1] == ("failing", "disabled", "hookline", "failing")


async def long_failing(lookout: Lookout, *ago: timedelta) -> tuple[str, str]:
    """Give an endpoint that is known to have failed at these times alone, and was warned of."""
    place, start = await lookout.place(), lookout.now
    for one in ago:
        lookout.now = start - one
        await lookout.roll(place, failed=2, at=lookout.now)
        await lookout.look(timedelta(seconds=1))
    lookout.now = start
    return place


@pytest.mark.parametrize("ago", [4 * DAY + HOUR, 2 * DAY, 3 * MINUTE])
async def test_one_success_and_it_is_not_disabled(lookout: Lookout, ago: timedelta) -> None:
    place = await long_failing(lookout, *LONG_FAILING[:-1])
    await lookout.roll(place, delivered=1, at=lookout.now - ago)  # however late it was written
    await lookout.roll(place, failed=2, at=lookout.now)

    said = await lookout.look(DAY - HOUR)
    said += await lookout.look(HOUR)

    assert await lookout.state(place) == ("active", "")
    assert "endpoint.disabled" not in kinds(said)


async def test_without_that_success_it_is_disabled(lookout: Lookout) -> None:
    place = await long_failing(lookout, *LONG_FAILING)

    await lookout.look(DAY)

    assert await lookout.state(place) == ("disabled", "failing")


@pytest.mark.parametrize("can_mail", [True, False])
async def test_an_app_that_has_an_address_is_told_of_it_by_mail(
    lookout: Lookout, *, can_mail: bool
) -> None:
    place = await long_failing(lookout, *LONG_FAILING[:-1])
    await lookout.pool.execute(
        "UPDATE environment SET settings = $1", {"enableApplicationAlerts": True}
    )
    async with lookout.pool.acquire() as link:
        await alert_mail.set_email(link, place[0], "a@example.com", lookout.now)
    server = read_server("smtp://mail.example.com", sender="b@example.com")

    await lookout.roll(place, failed=2, at=lookout.now)
    await lookout.look(DAY, mail=server if can_mail else None)

    rows = await lookout.pool.fetch("SELECT kind, reason, fail_since FROM alert_mail")
    assert [(row["kind"], row["reason"]) for row in rows] == [
        ("endpoint.disabled", "failing")
    ] * can_mail
    assert all(row["fail_since"] < lookout.now - 4 * DAY for row in rows)


async def test_failures_within_twelve_hours_disable_nothing(lookout: Lookout) -> None:
    place = await long_failing(lookout, *(5 * DAY - n * HOUR for n in range(12)))

    said = await lookout.look(disable_warning_days=0.0)
    said += await lookout.look(DAY, disable_warning_days=0.0)

    assert await lookout.state(place) == ("active", "")
    assert said == []
    assert (await lookout.health(place))["state"] == "failing"


async def test_zero_days_disable_nothing(lookout: Lookout) -> None:
    place, start = await lookout.place(), lookout.now
    for ago in LONG_FAILING:
        lookout.now = start - ago
        await lookout.roll(place, failed=2, at=lookout.now)
        await lookout.look(timedelta(seconds=1), disable_after_days=0.0)

    said = await lookout.look(DAY, disable_after_days=0.0)

    assert await lookout.state(place) == ("active", "")
    assert said == []


async def test_an_environment_can_have_none_disabled(lookout: Lookout) -> None:
    await lookout.pool.execute(
        "UPDATE environment SET settings = $1", {"disableEndpointOnFailure": False}
    )
    place = await long_failing(lookout, *LONG_FAILING)

    said = await lookout.look(DAY)

    assert await lookout.state(place) == ("active", "")
    assert not {"endpoint.disabling", "endpoint.disabled"} & set(kinds(said))


async def test_one_that_is_enabled_again_has_its_days_anew(lookout: Lookout) -> None:
    place = await long_failing(lookout, *LONG_FAILING)
    await lookout.look(DAY)
    assert await lookout.state(place) == ("disabled", "failing")
    await lookout.pool.execute(
        "UPDATE endpoint SET state = 'active', state_reason = '', state_at = $1", lookout.now
    )

    said = await lookout.fails(place, HOUR, every=5 * MINUTE)

    assert kinds(said) == ["endpoint.failing"]
    assert (await lookout.history(place))[-2:] == [
        ("disabled", "healthy", "key", "by_request"),
        ("healthy", "failing", "hookline", "only_failures"),
    ]
    assert (await lookout.health(place))["failing_since"] > lookout.now - 2 * HOUR


async def test_one_that_is_paused_is_neither_judged_nor_disabled(lookout: Lookout) -> None:
    place = await long_failing(lookout, *LONG_FAILING)
    await lookout.pool.execute(
        "UPDATE endpoint SET state = 'paused', state_reason = 'by_request', state_at = $1",
        lookout.now,
    )

    said = await lookout.look(2 * DAY)

    assert said == []
    assert (await lookout.health(place))["state"] == "paused"
    assert (await lookout.state(place))[0] == "paused"


async def test_a_receiver_that_wants_no_more_stands_in_the_history(lookout: Lookout) -> None:
    place = await lookout.place()
    await lookout.pool.execute(
        "UPDATE endpoint SET state = 'disabled', state_reason = 'gone' WHERE id = $1", place[1]
    )

    assert await lookout.history(place) == [("healthy", "disabled", "receiver", "gone")]


async def test_operational_endpoints_have_no_health(lookout: Lookout) -> None:
    app_id = await lookout.pool.fetchval("SELECT id FROM app WHERE kind = 'operational'")
    endpoint_id = await lookout.pool.fetchval("SELECT id FROM endpoint")

    await lookout.fails((app_id, endpoint_id), HOUR, every=MINUTE)
    await lookout.pool.execute("UPDATE endpoint SET state = 'disabled'")

    assert await lookout.pool.fetchval("SELECT count(*) FROM endpoint_health") == 0
    assert await lookout.history((app_id, endpoint_id)) == []


async def test_what_is_deleted_has_no_health(lookout: Lookout) -> None:
    place = await lookout.place()
    await lookout.fails(place, 20 * MINUTE, every=MINUTE)

    await lookout.pool.execute("UPDATE endpoint SET deleted_at = now() WHERE id = $1", place[1])
    await lookout.look()

    assert await lookout.pool.fetchval("SELECT count(*) FROM endpoint_health") == 0


async def test_one_that_looks_leaves_the_others_nothing_to_do(lookout: Lookout) -> None:
    place = await lookout.place()
    await lookout.roll(place, failed=9, at=lookout.now)
    async with lookout.pool.acquire() as link, link.transaction():
        await link.execute("SELECT pg_advisory_xact_lock(0x68656C74)")
        await lookout.look()
        meanwhile = await lookout.health(place)

    await lookout.look()

    assert meanwhile["state"] == "healthy"
    assert (await lookout.health(place))["state"] == "degraded"


@pytest.mark.usefixtures("stream")
async def test_what_a_disabled_one_is_owed_is_parked_by_the_owner(
    lookout: Lookout, services: Services
) -> None:
    """The dispatcher looks by itself; the endpoint's next retry is far away."""
    place = await long_failing(lookout, *LONG_FAILING)
    await lookout.pool.execute("UPDATE endpoint_health SET warned_at = now() - interval '2 days'")
    messages = await lookout.world.owe(*place, 3)
    await lookout.pool.execute("UPDATE delivery SET due_at = now() + interval '1 hour'")

    async with dispatching(lookout.pool, services.nats_url):
        await eventually(lambda: _parked(lookout.pool, len(messages)))

    assert await lookout.state(place) == ("disabled", "failing")
    letters = await lookout.world.letters()
    assert {letter["reason"] for letter in letters} == {"endpoint_disabled"}


async def _parked(pool: Pool, number: int) -> bool:
    return bool(await pool.fetchval("SELECT count(*) = $1 FROM dead_letter", number))
