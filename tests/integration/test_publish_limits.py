"""What an app may publish, and what publishing answers when the stream takes no more."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client

from deploy.settings import Settings
from deploy.streams import ensure_stream, events_stream
from gateway.backlog import Backlog
from gateway.config import GatewayConfig
from schema import event
from schema.delivery import State
from schema.ids import shard_of
from schema.store import backlog, statements
from schema.store.link import Pool
from tests import rows
from tests.gateway_server import CONFIG, Gateway, serve
from tests.services import SHARDS, Services

MESSAGE = {"eventType": "a", "payload": {"x": "y" * 200}}


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Publishing:
    """A gateway with limits, an app, and the clock of the limits."""

    def __init__(self, gateway: Gateway, app_id: str) -> None:
        self.app_id = app_id
        self.clock = Clock()
        self.limits = gateway.app.state.parts.limits
        self.limits._pace._monotonic_s = self.clock
        self.limits.backlog._monotonic_s = self.clock
        self._http = gateway.http()
        self._http.timeout = httpx.Timeout(20)

    async def single(self, **other: object) -> httpx.Response:
        return await self._http.post(f"/api/v1/app/{self.app_id}/msg", json=MESSAGE | other)

    async def bulk(self, number: int) -> httpx.Response:
        body = {"messages": [MESSAGE] * number}
        return await self._http.post(f"/api/v1/app/{self.app_id}/msg/bulk", json=body)

    async def recount(self) -> None:
        self.clock.now_s += 30
        await self.limits.backlog.refresh()
        self.clock.now_s += 1

    async def refused(self) -> str:
        lines = (await self._http.get("/metrics")).text.splitlines()
        return "\n".join(line for line in lines if line.startswith("hookline_refused_total"))


async def publishing(gateway: Gateway) -> Publishing:
    made = await gateway.http().post("/api/v1/app", json={"name": "One"})
    return Publishing(gateway, made.json()["id"])


@pytest_asyncio.fixture
async def paced(pool: Pool, bus: Client, stream: str) -> AsyncIterator[Publishing]:
    assert stream == event.STREAM
    async with serve(pool, bus, config=replace(CONFIG, app_events_per_s=5)) as gateway:
        yield await publishing(gateway)


@pytest_asyncio.fixture
async def bounded(pool: Pool, bus: Client, stream: str) -> AsyncIterator[Publishing]:
    assert stream == event.STREAM
    async with serve(pool, bus, config=replace(CONFIG, app_backlog=10)) as gateway:
        yield await publishing(gateway)


async def test_an_app_publishes_its_events_of_a_second_and_is_told_what_is_left(
    paced: Publishing,
) -> None:
    answers = [await paced.single() for _ in range(6)]
    paced.clock.now_s += 0.2
    later = [await paced.single() for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202] * 5 + [429]
    assert [answer.headers["ratelimit"] for answer in answers] == [
        f'"events";r={left};t=1' for left in (4, 3, 2, 1, 0, 0)
    ]
    assert {answer.headers["ratelimit-policy"] for answer in answers} == {'"events";q=5;w=1'}
    assert (answers[5].json()["code"], answers[5].headers["retry-after"]) == ("rate_limited", "1")
    assert [answer.status_code for answer in later] == [202, 429]
    assert 'code="rate_limited"} 2' in await paced.refused()


async def test_of_a_bulk_request_what_is_too_much_is_refused_message_by_message(
    paced: Publishing,
) -> None:
    some = await paced.bulk(8)
    none = await paced.bulk(8)

    assert some.status_code == 202
    assert [one["status"] for one in some.json()["results"]] == ["accepted"] * 5 + ["refused"] * 3
    assert {one["code"] for one in some.json()["results"][5:]} == {"rate_limited"}
    assert (some.headers["retry-after"], some.headers["ratelimit"]) == ("1", '"events";r=0;t=1')
    assert (none.status_code, none.json()["code"]) == (429, "rate_limited")


async def test_an_app_is_refused_while_it_is_owed_too_much_and_only_that_one(
    bounded: Publishing, pool: Pool
) -> None:
    endpoint_id = "ep_1"
    async with pool.acquire() as link:
        messages = [await rows.message(link, bounded.app_id) for _ in range(12)]
        for message_id in messages:
            await rows.delivery(link, bounded.app_id, message_id, endpoint_id)
    first = await bounded.single()  # nobody has counted yet

    await bounded.recount()
    full = [await bounded.single(), await bounded.bulk(3)]
    async with pool.acquire() as link:
        await link.execute(
            "UPDATE delivery SET state = 'delivered', due_at = NULL WHERE message_id = ANY ($1)",
            messages[:5],
        )
    await bounded.recount()
    drained = await bounded.bulk(3)
    again = await bounded.single()

    assert first.status_code == 202
    assert [answer.status_code for answer in full] == [429, 429]
    assert {answer.json()["code"] for answer in full} == {"backlog_full"}
    assert {answer.headers["retry-after"] for answer in full} == {"5"}
    assert drained.status_code == 202
    assert again.status_code == 429  # 7 are owed, and 3 were published since they were counted


async def test_more_than_a_glance_counts_is_counted_to_the_quota(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.backlog._GLANCE", 3)
    clock, app_id = Clock(), "app_1"
    config = replace(CONFIG, app_backlog=6)
    counted = Backlog(pool, config, monotonic_s=clock)
    async with pool.acquire() as link:
        messages = [await rows.message(link, app_id) for _ in range(6)]
        for message_id in messages[:5]:
            await rows.delivery(link, app_id, message_id, "ep_1")

        counted.accepted(app_id, 1)
        await counted.refresh()
        before = counted.full(app_id)
        await rows.delivery(link, app_id, messages[5], "ep_1")
    clock.now_s += 30
    counted.full(app_id)
    await counted.refresh()

    assert (before, counted.full(app_id)) == (False, True)


async def test_while_postgres_cannot_be_asked_the_last_count_counts(
    bounded: Publishing, services: Services
) -> None:
    await bounded.bulk(10)
    await services.postgres.stop()
    try:
        await bounded.recount()
        full = bounded.limits.backlog.full(bounded.app_id)
    finally:
        await services.postgres.start()

    assert full


async def test_what_apps_are_owed_is_counted_up_to_the_limit_by_the_index_of_what_is_owed(
    pool: Pool,
) -> None:
    owed = {"app_a": 7, "app_b": 2, "app_c": 0}
    async with pool.acquire() as link:
        for app_id, number in owed.items():
            for n in range(number):
                message_id = await rows.message(link, app_id)
                state = State.PENDING if n % 2 else State.RETRYING
                place = n if n % 3 else None
                await rows.delivery(link, app_id, message_id, "ep_1", state, place=place)
                await rows.delivery(link, app_id, message_id, "ep_2", State.DELIVERED)
        asked = [(shard_of(app_id, SHARDS), app_id) for app_id in owed]

        counted = await backlog.owed(link, asked, most=5)
        await link.execute("VACUUM ANALYZE delivery")
        plan = await plan_of(link, asked)

    assert counted == [5, 2, 0]
    scans = [line for line in plan.splitlines() if " on delivery" in line]
    assert scans
    assert all("Index Only Scan using delivery_" in line for line in scans)
    assert all("_shard_app_id_endpoint_id_" in line for line in scans)


async def plan_of(
    link: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", asked: list[tuple[int, str]]
) -> str:
    sql = statements.load("backlog")
    async with link.transaction():
        await link.execute(sql["settings"])
        lines = await link.fetch(
            f"EXPLAIN {sql['owed']}", [shard for shard, _ in asked], [app for _, app in asked], 5
        )
    return "\n".join(line[0] for line in lines)


@pytest.fixture
def small() -> GatewayConfig:
    return replace(CONFIG, app_backlog=0)


@pytest.mark.parametrize("together", [1, 30])
async def test_a_full_stream_is_answered_503_and_has_exactly_what_was_accepted(
    pool: Pool, bus: Client, small: GatewayConfig, together: int
) -> None:
    config = events_stream(Settings(), shards=SHARDS)
    config.max_bytes = 60_000
    await ensure_stream(bus.jetstream(), config)
    answers: list[httpx.Response] = []
    async with serve(pool, bus, config=small) as gateway:
        app = await publishing(gateway)
        async with asyncio.timeout(50):
            while not answers or answers[-1].status_code == 202:
                answers.append(await (app.single() if together == 1 else app.bulk(together)))
        answers += [await app.single(), await app.bulk(together)]
        refused = await app.refused()
    state = (await bus.jetstream().stream_info(event.STREAM)).state
    await bus.jetstream().delete_stream(event.STREAM)

    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len(accepted) > 1
    assert state.messages == sum(len(answer.json().get("results", [answer])) for answer in accepted)
    last = answers[-1]
    assert (last.status_code, last.json()["code"]) == (503, "overload")
    assert last.headers["retry-after"] == "5"
    assert "the stream takes no more" in last.json()["detail"]
    assert 'code="overload"' in refused


@pytest.mark.usefixtures("stream")
async def test_without_nats_publishing_is_answered_503_in_time_and_goes_on_afterwards(
    pool: Pool, bus: Client, services: Services, small: GatewayConfig
) -> None:
    async with serve(pool, bus, config=small) as gateway:
        app = await publishing(gateway)
        await app.single()
        await services.nats.stop()
        try:
            async with asyncio.timeout(20):
                while bus.is_connected:
                    await asyncio.sleep(0.01)
            started = asyncio.get_running_loop().time()
            away = await asyncio.gather(app.single(), *(app.bulk(600) for _ in range(3)))
            took_s = asyncio.get_running_loop().time() - started
        finally:
            await services.nats.start()
        async with asyncio.timeout(20):
            while not bus.is_connected:
                await asyncio.sleep(0.01)
        back = [await app.single(), await app.bulk(20)]

    assert [answer.status_code for answer in away] == [503] * 4
    assert took_s < 9  # no batch waits for the ones before it to fail
    assert {answer.json()["code"] for answer in away} == {"unavailable"}
    assert all(answer.headers["retry-after"] == "1" for answer in away)
    assert [answer.status_code for answer in back] == [202, 202]
