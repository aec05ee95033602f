"""What operators are told is written with what it tells, and published once, within bounds."""

import asyncio
import json
from datetime import timedelta

import pytest
from nats.aio.client import Client
from nats.js.api import ConsumerConfig, DeliverPolicy

from deploy.settings import Settings
from deploy.streams import ensure_stream, events_stream
from dispatcher.notices import Notices
from schema.event import STREAM
from schema.operational import Kind
from schema.store import operational as store
from schema.store.link import Pool
from tests.dispatching import World, config, now, parts
from tests.operators import listening, told
from tests.services import SHARDS


def notices(pool: Pool, bus: Client, *, later: timedelta = timedelta(), **changes: int) -> Notices:
    """Make what publishes, at a time that may be to come."""
    return Notices(
        parts(pool, bus, config(**changes), clock=lambda: now() + later, dice=lambda: 0.5)
    )


async def note(
    world: World, kind: str = Kind.ENDPOINT_UPDATED, number: int = 1, **more: str
) -> str:
    """Write events about an app; give the app."""
    app_id = more.pop("app_id", None) or await world.app(uid=more.pop("uid", None))
    async with world.pool.acquire() as link, link.transaction():
        for n in range(number):
            await store.note(
                link, environment_id=world.environment_id, app_id=app_id, kind=kind,
                data={"n": n} | more, key="ep_1",
            )  # fmt: skip
    return app_id


async def published(bus: Client) -> list[tuple[dict[str, str], dict[str, object]]]:
    """Give the headers and payloads of all events on the stream."""
    info = await bus.jetstream().stream_info(STREAM)
    every = ConsumerConfig(deliver_policy=DeliverPolicy.ALL)
    reader = await bus.jetstream().pull_subscribe("", stream=STREAM, config=every)
    found = await reader.fetch(info.state.messages) if info.state.messages else []
    return [(dict(msg.headers or {}), json.loads(msg.data)) for msg in found]


async def test_what_nobody_listens_to_is_not_written(world: World, pool: Pool) -> None:
    await note(world)

    assert await told(pool) == []


@pytest.mark.parametrize(
    ("filters", "hears"),
    [
        ({}, 1),
        ({"event_types": ["endpoint.updated"]}, 1),
        ({"event_types": ["endpoint.deleted"]}, 0),
        ({"channels": ["acme"]}, 1),
        ({"channels": ["other"]}, 0),
        ({"state": "paused"}, 1),
        ({"state": "disabled"}, 0),
    ],
)
async def test_it_is_written_if_a_filter_lets_it_pass(
    world: World, pool: Pool, filters: dict[str, object], hears: int
) -> None:
    await listening(world, **filters)

    await note(world, uid="acme")

    assert len(await told(pool)) == hears


async def test_what_is_undone_is_not_told(world: World, pool: Pool) -> None:
    await listening(world)
    async with pool.acquire() as link:
        undone = link.transaction()
        await undone.start()
        await store.note(
            link, environment_id=world.environment_id, app_id=None, kind="alert.raised", data={}
        )
        await undone.rollback()

    assert await told(pool) == []


async def test_an_operational_endpoint_is_not_told_of_itself(world: World, pool: Pool) -> None:
    endpoint_id = await listening(world)
    app_id = await pool.fetchval("SELECT app_id FROM endpoint WHERE id = $1", endpoint_id)

    await note(world, app_id=app_id)
    async with pool.acquire() as link:
        await store.note_endpoints(link, Kind.ENDPOINT_UPDATED, [(app_id, endpoint_id, {})])

    assert await told(pool) == []


@pytest.mark.usefixtures("stream")
async def test_an_event_is_published_once_for_the_operational_app(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world)
    app_id = await note(world, uid="acme")

    await notices(pool, bus).once()
    await notices(pool, bus).once()

    ((headers, body),) = await published(bus)
    assert body["type"] == "endpoint.updated"
    assert body["data"] == {"appId": app_id, "appUid": "acme", "n": 0}
    assert headers["Hookline-Channels"] == f"{app_id},acme"
    assert headers["Nats-Msg-Id"] == headers["Hookline-Message-Id"]
    assert await told(pool) == []


@pytest.mark.usefixtures("stream")
async def test_one_that_dies_between_publishing_and_deleting_repeats_nothing(
    world: World, pool: Pool, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await listening(world)
    await note(world, number=3)
    dying, last = notices(pool, bus), asyncio.Event()

    async def die(*_: object) -> None:
        last.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr("schema.store.operational.finish", die)
        task = asyncio.create_task(dying.once())
        await last.wait()
        task.cancel()
        await asyncio.wait([task])
    assert len(await told(pool)) == 3
    await notices(pool, bus).once()

    assert await told(pool) == []
    assert len(await published(bus)) == 3


@pytest.mark.usefixtures("stream")
async def test_an_event_keeps_its_message_id_however_late_it_is_published_again(
    world: World, pool: Pool, bus: Client
) -> None:
    """A stream forgets ids after two minutes; the intake knows a message by its id."""
    await listening(world)
    await note(world)
    (row,) = await told(pool)
    await notices(pool, bus).once()
    ((first, _),) = await published(bus)
    await bus.jetstream().delete_stream(STREAM)
    settings = Settings(stream_max_bytes=2**28)
    await ensure_stream(bus.jetstream(), events_stream(settings, shards=SHARDS))
    await pool.execute(
        """INSERT INTO operational_event OVERRIDING SYSTEM VALUE
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8)""",
        *row.values(),
    )

    await notices(pool, bus, later=timedelta(hours=11)).once()

    ((again, _),) = await published(bus)
    assert again["Hookline-Message-Id"] == first["Hookline-Message-Id"]


@pytest.mark.usefixtures("stream")
async def test_one_at_a_time_publishes(world: World, pool: Pool, bus: Client) -> None:
    await listening(world)
    await note(world)
    async with pool.acquire() as link, link.transaction():
        assert await store.try_lock(link)

        await notices(pool, bus).once()

        assert len(await told(pool)) == 1
    await notices(pool, bus).once()
    assert await told(pool) == []


@pytest.mark.usefixtures("stream")
async def test_of_a_storm_the_first_are_published_and_the_rest_is_one_digest(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world)
    app_id = await note(world, Kind.ATTEMPT_EXHAUSTED, number=1_000)
    await note(world, Kind.ENDPOINT_DISABLED)

    publishing = notices(pool, bus, operational_per_minute=10)
    while await publishing.once():
        pass
    after = notices(pool, bus, later=timedelta(minutes=2))
    await after.once()
    await after.once()

    bodies = [body for _, body in await published(bus)]
    assert [body["type"] for body in bodies].count("message.attempt.exhausted") == 10
    assert [body["type"] for body in bodies].count("endpoint.disabled") == 1
    (digest,) = [body["data"] for body in bodies if body["type"] == "alert.digest"]
    assert isinstance(digest, dict)
    assert (digest["appId"], digest["suppressed"]) == (app_id, 990)
    assert digest["events"] == [{"type": "message.attempt.exhausted", "key": "ep_1", "count": 990}]


@pytest.mark.usefixtures("stream")
async def test_it_is_counted_what_was_published_and_what_was_only_counted(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world)
    await note(world, number=5)
    publishing = notices(pool, bus, operational_per_minute=2)

    await publishing.once()

    counted = {
        sample.labels["result"]: sample.value
        for metric in publishing._metrics.notices.collect()
        for sample in metric.samples
        if sample.name.endswith("_total")
    }
    assert counted == {"published": 2, "suppressed": 3}


async def test_while_the_stream_takes_nothing_events_wait(
    world: World, pool: Pool, bus: Client
) -> None:
    await listening(world)
    await note(world)

    with pytest.raises(Exception, match="no response from stream"):
        await notices(pool, bus).once()

    assert len(await told(pool)) == 1
