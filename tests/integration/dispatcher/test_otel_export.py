"""Attempts of an environment reach its collector, and a collector that does not take them hurts
nobody else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client import CollectorRegistry

from dispatcher import otel_export
from dispatcher.collector import Collectors
from dispatcher.guard import Guard, SystemResolver
from dispatcher.metrics import Metrics
from dispatcher.otel_export import CLAIM_S, PAGE, ROOM, OtelExport
from dispatcher.transport import Transport
from schema.delivery import State
from schema.store import otel as store
from schema.store.link import Pool
from schema.store.settle import Settlement
from signer.tls import client_context
from tests import settling
from tests.collectors import attempts_in, collecting, spans_in, staged
from tests.dispatching import (
    LOOPBACK,
    VAULT,
    World,
    config,
    dispatching,
    elsewhere,
    eventually,
    new_world,
    now,
    parts,
    publish,
)
from tests.operators import listening
from tests.receiver import Receiver, answer, hang, sequence
from tests.services import Services

HOOK = "http://127.0.0.1:9/hook"


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    return await settling.owned_world(pool)


class Exporting:
    """An export with a clock that can be put on, and the transport that it goes by."""

    def __init__(self, pool: Pool, bus: Client, **changes: Any) -> None:
        self.later = timedelta()
        self.metrics = Metrics(CollectorRegistry())
        limits = config(**changes)
        self._guard = Guard(limits.address_policy, SystemResolver())
        self.transport = Transport(permits=self._guard.permits, tls=client_context())
        given = parts(
            pool,
            bus,
            limits,
            clock=lambda: now() + self.later,
            dice=lambda: 0.0,
            metrics=self.metrics,
        )
        collectors = Collectors(
            guard=self._guard,
            transport=self.transport,
            vault=VAULT,
            policy=limits.address_policy,
        )
        self.export = OtelExport(given, collectors)

    async def once(self) -> None:
        """Do a round, and all that it begins."""
        async with asyncio.TaskGroup() as group:
            await self.export.once(group)

    def counted(self, result: str) -> float:
        return float(self.metrics.otel.labels(result)._value.get())


@pytest_asyncio.fixture
async def exporting(pool: Pool, bus: Client) -> AsyncIterator[Exporting]:
    made = Exporting(pool, bus)
    yield made
    await made.transport.aclose()


async def attempted(world: World, number: int = 1, *, traces: bool = True) -> list[str]:
    """Settle the first attempts of new messages of a new app; give the attempts."""
    app_id = await world.app(uid=None)
    endpoint_id = await world.endpoint(app_id, HOOK)
    batch = [
        settling.settlement(app_id, endpoint_id, message_id, State.DELIVERED)
        for message_id in await world.owe(app_id, endpoint_id, number)
    ]
    await settling.settle(world.pool, *batch, traces=traces)
    return ids_of(batch)


def ids_of(batch: Sequence[Settlement]) -> list[str]:
    return [settled.attempt.id for settled in batch if settled.attempt is not None]


async def known(world: World) -> store.Known:
    async with world.pool.acquire() as link:
        found = await store.find(link, world.environment_id)
    assert found is not None
    return found


# What is staged.


async def test_without_anybody_who_wants_it_nothing_is_staged(world: World, pool: Pool) -> None:
    await collecting(pool, world.environment_id, "https://otel.example.com")

    await attempted(world, traces=False)

    assert await staged(pool) == []


async def test_only_attempts_of_environments_that_export_are_staged(
    world: World, pool: Pool
) -> None:
    other, off = await elsewhere(world), await elsewhere(world)
    await collecting(pool, other.environment_id, "https://otel.example.com")
    await collecting(pool, off.environment_id, "https://otel.example.com", on=False)
    await attempted(world)
    await attempted(off)

    theirs = await attempted(other, 3)

    assert await staged(pool) == theirs
    assert await staged(pool, other.environment_id) == theirs


async def test_what_is_settled_twice_is_staged_once(world: World, pool: Pool) -> None:
    await collecting(pool, world.environment_id, "https://otel.example.com")
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, HOOK)
    (message_id,) = await world.owe(app_id, endpoint_id)
    settled = settling.settlement(app_id, endpoint_id, message_id, State.DELIVERED)

    await settling.settle(pool, settled, traces=True)
    await settling.settle(pool, settled, traces=True)

    assert await staged(pool) == ids_of([settled])


# What is sent.


async def test_attempts_arrive_once_in_order_and_page_by_page_with_the_headers_that_were_set(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    await collecting(
        pool, world.environment_id, receiver.url(""), headers={"Api-Key": "s3cret-of-the-team"}
    )
    made = await attempted(world, PAGE + 20)

    await exporting.once()
    await exporting.once()

    first, second = receiver.requests
    assert attempts_in(first) + attempts_in(second) == made
    assert len(attempts_in(second)) == 20
    for request in (first, second):
        assert (request.method, request.path) == ("POST", "/v1/traces")
        assert request.header("content-type") == "application/x-protobuf"
        assert request.header("api-key") == "s3cret-of-the-team"
    assert await staged(pool) == []
    assert exporting.counted("exported") == PAGE + 20
    found = await known(world)
    assert (found.failures, found.waiting, found.last_error) == (0, 0, None)
    assert found.exported_at is not None


async def test_an_attempt_says_to_whom_it_belongs(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    await collecting(pool, world.environment_id, receiver.url("/otlp"))
    app_id = await world.app(uid="acme")
    endpoint_id = await world.endpoint(app_id, HOOK)
    (message_id,) = await world.owe(app_id, endpoint_id)
    await pool.execute("UPDATE message SET event_id = 'order-1' WHERE id = $1", message_id)
    failed = settling.settlement(app_id, endpoint_id, message_id, State.RETRYING)
    await settling.settle(pool, failed, traces=True)

    await exporting.once()

    (request,) = receiver.requests
    (outer, inner) = spans_in(request)
    said = {one.key: one.value.string_value or one.value.int_value for one in inner.attributes}
    assert said == {
        "org_id": world.environment_id, "app_id": app_id, "app_uid": "acme",
        "endpoint_id": endpoint_id, "msg_id": message_id, "msg_event_id": "order-1",
        "event_type": "a.b", "attempt_id": ids_of([failed])[0], "attempt_count": 1, "status": 2,
        "http.request.method": "POST", "http.response.status_code": 500,
    }  # fmt: skip
    assert outer.end_time_unix_nano - outer.start_time_unix_nano == 7_000_000
    assert request.path == "/otlp"


async def test_an_attempt_that_is_gone_by_then_is_passed_over(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    await collecting(pool, world.environment_id, receiver.url(""))
    gone, stays = await attempted(world, 2)
    await pool.execute("DELETE FROM attempt WHERE id = $1", gone)

    await exporting.once()

    assert [attempts_in(request) for request in receiver.requests] == [[stays]]
    assert await staged(pool) == []


# A collector that does not take them.


@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_what_a_collector_does_not_take_waits_and_is_sent_again_when_it_is_back(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting, status: int
) -> None:
    receiver.script("/", sequence(answer(status, body=b"come\nback\0 later"), answer(200)))
    await collecting(pool, world.environment_id, receiver.url(""))
    made = await attempted(world, 2)

    await exporting.once()
    await exporting.once()  # too soon

    assert len(receiver.requests) == 1
    assert await staged(pool) == made
    found = await known(world)
    assert (found.failures, found.waiting) == (1, 2)
    assert found.last_error == f"the collector answered {status}: come back later"

    exporting.later = timedelta(seconds=6)
    await exporting.once()

    assert attempts_in(receiver.requests[1]) == made
    assert await staged(pool) == []
    assert (await known(world)).failures == 0


async def test_a_collector_is_left_alone_for_as_long_as_it_asks(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    receiver.script("/", answer(429, {"Retry-After": "120"}))
    await collecting(pool, world.environment_id, receiver.url(""))
    await attempted(world)

    await exporting.once()

    wait = (await known(world)).next_at - now()
    assert timedelta(seconds=110) < wait < timedelta(seconds=121)


@pytest.mark.parametrize("status", [400, 413])
async def test_what_would_be_refused_again_is_counted_and_not_sent_again(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting, status: int
) -> None:
    receiver.script("/", answer(status, body=b"bad data"))
    await collecting(pool, world.environment_id, receiver.url(""))
    await attempted(world, 2)

    await exporting.once()

    assert await staged(pool) == []
    assert (exporting.counted("rejected"), exporting.counted("exported")) == (2, 0)
    found = await known(world)
    assert found.last_error == f"the collector answered {status}: bad data"


async def test_what_a_collector_takes_in_part_is_counted_in_part(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    said = ExportTraceServiceResponse()
    said.partial_success.rejected_spans = 3
    said.partial_success.error_message = "too old"
    receiver.script("/", answer(200, body=said.SerializeToString()))
    await collecting(pool, world.environment_id, receiver.url(""))
    await attempted(world, 5)

    await exporting.once()

    assert (exporting.counted("rejected"), exporting.counted("exported")) == (2, 3)
    assert (await known(world)).last_error == "too old"


async def test_a_collector_is_nowhere_that_the_operator_does_not_allow(
    world: World, pool: Pool, bus: Client, receiver: Receiver
) -> None:
    strict = Exporting(pool, bus, address_policy=type(LOOPBACK)())
    await collecting(pool, world.environment_id, receiver.url("", host="localhost"))
    made = await attempted(world)

    await strict.once()

    assert receiver.requests == []
    assert await staged(pool) == made
    assert (await known(world)).failures == 1


async def test_headers_that_cannot_be_opened_are_told_and_not_left_out(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    other = await elsewhere(world)
    await collecting(pool, other.environment_id, receiver.url(""), headers={"Api-Key": "theirs"})
    await collecting(pool, world.environment_id, receiver.url(""))
    await pool.execute(  # a row that somebody moved
        "UPDATE otel_config SET headers = (SELECT headers FROM otel_config"
        " WHERE environment_id = $2) WHERE environment_id = $1",
        world.environment_id,
        other.environment_id,
    )
    await attempted(world)

    await exporting.once()

    assert receiver.requests == []
    assert (await known(world)).last_error == "its headers cannot be sent: set them again"


# One that hangs.


async def test_collectors_that_hang_hold_up_neither_the_next_round_nor_other_environments(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    receiver.script("/hangs", hang())
    for _ in range(ROOM):
        stuck = await elsewhere(world)
        await collecting(pool, stuck.environment_id, receiver.url("/hangs"))
        await attempted(stuck)
    await pool.execute("UPDATE otel_config SET failures = 1")
    await collecting(pool, world.environment_id, receiver.url("/well"))
    made = await attempted(world)

    async def hanging() -> None:
        async with asyncio.TaskGroup() as group:
            await exporting.export.once(group)
            (request,) = await receiver.wait_for(1, path="/well")
            assert attempts_in(request) == made
            await receiver.wait_for(otel_export.ROOM_FAILING, path="/hangs")
            more = await attempted(world)
            await exporting.export.once(group)
            assert attempts_in((await receiver.wait_for(2, path="/well"))[1]) == more
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await hanging()
    hung = [request for request in receiver.requests if request.path == "/hangs"]
    assert len(hung) == otel_export.ROOM_FAILING


async def test_two_dispatchers_do_not_export_the_same_and_the_second_takes_over_from_one_that_died(
    world: World, pool: Pool, bus: Client, receiver: Receiver, exporting: Exporting
) -> None:
    receiver.script("/", sequence(hang(), answer(200)))
    await collecting(pool, world.environment_id, receiver.url(""))
    made = await attempted(world)
    second = Exporting(pool, bus)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(exporting.once())
        await receiver.wait_for(1)
        await second.once()
        assert len(receiver.requests) == 1
        first.cancel()
    second.later = timedelta(seconds=CLAIM_S + 1)
    await second.once()

    assert [attempts_in(request) for request in receiver.requests] == [made, made]
    assert spans_in(receiver.requests[0]) == spans_in(receiver.requests[1])
    assert await staged(pool) == []
    await second.transport.aclose()


async def test_a_collector_that_is_set_anew_is_not_blamed_for_the_one_before(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    receiver.script("/before", answer(500))
    await collecting(pool, world.environment_id, receiver.url("/before"))
    made = await attempted(world)
    async with pool.acquire() as link:
        at = now()
        (claim,) = await store.claim(
            link, "old", now=at, until=at + timedelta(hours=1), failing=False, most=1
        )
        await collecting(pool, world.environment_id, receiver.url("/after"))
        await store.failed(link, claim, at, why="late", next_at=at + timedelta(hours=1))

    await exporting.once()

    assert [(r.path, attempts_in(r)) for r in receiver.requests] == [("/after", made)]
    assert (await known(world)).last_error is None


# Bounds.


async def test_the_oldest_are_dropped_and_counted_where_too_many_wait(
    world: World, pool: Pool, bus: Client
) -> None:
    few = Exporting(pool, bus, otel_waiting=3)
    other = await elsewhere(world)
    for each in (world, other):
        await collecting(pool, each.environment_id, HOOK)
    await pool.execute("UPDATE otel_config SET next_at = now() + interval '1 hour'")
    made = await attempted(world, 5)
    theirs = await attempted(other, 3)

    await few.once()

    assert await staged(pool, world.environment_id) == made[2:]
    assert await staged(pool, other.environment_id) == theirs
    assert few.counted("dropped") == 2


async def test_what_nobody_wants_any_more_is_forgotten(
    world: World, pool: Pool, receiver: Receiver, exporting: Exporting
) -> None:
    other, gone = await elsewhere(world), await elsewhere(world)
    for each in (world, other, gone):
        await collecting(pool, each.environment_id, receiver.url(""))
        await attempted(each)
    await collecting(pool, world.environment_id, receiver.url(""), on=False)
    await pool.execute("DELETE FROM otel_config WHERE environment_id = $1", other.environment_id)
    await pool.execute(
        "UPDATE environment SET deleted_at = now() WHERE id = $1", gone.environment_id
    )

    await exporting.once()

    assert await staged(pool) == []
    assert receiver.requests == []


# All together.


@pytest.mark.usefixtures("stream")
async def test_a_dispatcher_exports_what_it_tried_from_when_a_collector_is_set_until_it_is_off(
    pool: Pool, bus: Client, services: Services, receiver: Receiver
) -> None:
    world = await new_world(pool)
    await listening(world, receiver.url("/operators"))
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/hook"))
    receiver.script("/hook", sequence(answer(500), answer(200)))

    def exported() -> list[str]:
        requests = [got for got in receiver.requests if got.path == "/v1/traces"]
        return [attempt for request in requests for attempt in attempts_in(request)]

    async with dispatching(pool, services.nats_url, otel_s=0.1) as running:
        await eventually(lambda: not running.dispatcher._interest.traces())
        await collecting(pool, world.environment_id, receiver.url(""))
        await eventually(running.dispatcher._interest.traces)
        await publish(bus, app_id)
        await eventually(lambda: len(exported()) == 2)
        await collecting(pool, world.environment_id, receiver.url(""), on=False)
        await eventually(lambda: not running.dispatcher._interest.traces())

    of_hooks = [row["id"] for row in await world.attempts() if row["app_id"] == app_id]
    assert sorted(exported()) == sorted(of_hooks)
