"""Processes that are killed with SIGKILL lose nothing that was accepted."""

import asyncio
import re
import secrets
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from itertools import count

import asyncpg
import httpx
import pytest
from svix.api import ApplicationOut, MessageStatus

from schema.event import STREAM
from schema.ids import shard_of
from tests.acceptance.nothing_missing import nothing_is_missing, what_was_accepted_was_counted
from tests.acceptance.test_rate_limits import RATE, of_paths
from tests.acceptance.world import TYPE, Load, World, until
from tests.lateness import measured_lateness, shortest_window_s
from tests.receiver import Behaviour, Received, answer, hang, sequence

EVENT = {"eventType": TYPE, "payload": {}}
SETTLED_S = 1.0  # what was sent before that is settled: a crash does not repeat it


@pytest.mark.parametrize(
    ("before", "behaviour"),
    [
        (0, sequence(hang(), answer())),
        (1, sequence(answer(500), hang(), answer())),
    ],
    ids=["first-attempt", "retry"],
)
async def test_a_dispatcher_killed_amid_a_request_delivers_it_when_it_is_back(
    breakable_world: World, before: int, behaviour: Behaviour
) -> None:
    world = breakable_world
    await world.here.stop("dispatcher-2")
    world.receiver.script("/killed", behaviour)
    app = await world.app()
    endpoint = await world.endpoint(app, "/killed", waits_s=(0.1, 0.1))
    message = await world.publish(app, {"amount": 12})
    await world.receiver.wait_for(before + 1)

    await world.here.kill("dispatcher-1")
    await world.here.start("dispatcher-1")

    came = await world.receiver.wait_for(before + 2)
    await world.stands(app, message.id, {endpoint.id: MessageStatus.SUCCESS})
    assert {one.header("webhook-id") for one in came} == {message.id}
    assert {one.body for one in came} == {came[0].body}
    assert len(world.receiver.requests) == before + 2
    assert await world.letters(app) == []


async def test_a_gateway_killed_after_its_202_lost_nothing(breakable_world: World) -> None:
    world = breakable_world
    app = await world.app()
    endpoint = await world.endpoint(app, "/kept")
    accepted: set[str] = set()
    enough = asyncio.Event()

    async def publish() -> None:
        with suppress(httpx.TransportError):
            for _ in range(20):
                answered = await world.http.post(f"/api/v1/app/{app.id}/msg", json=EVENT)
                assert answered.status_code == 202
                accepted.add(answered.json()["id"])
                if len(accepted) >= 40:
                    enough.set()

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(publish())
        await enough.wait()
        await world.here.kill("gateway-1")

    async def arrived() -> bool:
        return accepted <= {one.header("webhook-id") for one in world.receiver.requests}

    await until(arrived)
    await world.here.start("gateway-1")
    repeats = Counter(one.header("webhook-id") for one in world.receiver.requests)
    assert set(repeats.values()) == {1}
    for message_id in accepted:
        await world.stands(app, message_id, {endpoint.id: MessageStatus.SUCCESS})


async def test_what_a_killed_gateway_did_not_answer_is_sent_again_and_published_once(
    breakable_world: World,
) -> None:
    world = breakable_world
    app = await world.app()
    await world.endpoint(app, "/")
    path, unanswered, begun = f"/api/v1/app/{app.id}/msg", list[str](), asyncio.Event()

    async def publish(number: int) -> list[str]:
        made = []
        for n in range(20):
            headers = {"idempotency-key": f"auto_{number}-{n}"}
            try:
                said = await world.gates[0].http.post(path, json=EVENT, headers=headers)
            except httpx.TransportError:
                unanswered.append(headers["idempotency-key"])
                said = await world.gates[1].http.post(path, json=EVENT, headers=headers)
            assert said.status_code == 202
            made.append(str(said.json()["id"]))
            if n == 5:
                begun.set()
        return made

    async with asyncio.TaskGroup() as group:
        publishing = [group.create_task(publish(number)) for number in range(8)]
        await begun.wait()
        await world.here.kill("gateway-1")
    await world.here.start("gateway-1")

    made = [ident for task in publishing for ident in task.result()]
    assert unanswered
    assert len(set(made)) == len(made) == 160
    assert {message.id for message in await world.messages(app, n=160)} == set(made)


async def test_when_one_dispatcher_is_killed_the_other_takes_over_within_the_limits(
    breakable_world: World,
) -> None:
    world = breakable_world
    apps = [await world.app(throttle_rate=RATE) for _ in range(6)]
    paths = [f"/{number}" for number in range(len(apps))]
    for app, path in zip(apps, paths, strict=True):
        await world.endpoint(app, path)
    each = 3 * RATE
    async with measured_lateness() as lateness:
        await asyncio.gather(*(_publish(world, app, each) for app in apps))
        await world.receiver.wait_for(len(apps) * RATE)

        killed_at = asyncio.get_running_loop().time()
        await world.here.kill("dispatcher-1")

        async def all_came() -> bool:
            ids = {(one.path, one.header("webhook-id")) for one in world.receiver.requests}
            return len(ids) == len(apps) * each

        await until(all_came, within_s=25)

    came = world.receiver.requests
    assert all(killed_at - SETTLED_S <= at for at in _repeated_at(came))
    for path in paths:
        assert shortest_window_s(of_paths(came, path), RATE) >= 1.0 - lateness.worst_s


async def _publish(world: World, app: ApplicationOut, number: int) -> None:
    for n in range(number):
        await world.publish(app, gate=n % 2)


@pytest.mark.parametrize("part", ["nats", "postgres", "dispatcher-1", "gateway-1"])
async def test_nothing_is_missing_when_a_part_is_killed_under_load(
    breakable_world: World, part: str
) -> None:
    world = breakable_world
    app = await world.app()
    endpoints = [await world.endpoint(app, path) for path in ("/first", "/second")]
    load = Load(world, app)

    async with load.running(by_http=4, by_nats=2):
        await load.more(60)
        killed_at = asyncio.get_running_loop().time()
        await world.here.kill(part)
        await asyncio.sleep(0.3)  # an outage has a length: it goes on being published to
        await world.here.start(part)
        await load.more(60)

    await nothing_is_missing(world, app, endpoints, load)
    await what_was_accepted_was_counted(world, app)
    for at in _repeated_at(world.receiver.requests):
        assert part in {"dispatcher-1", "postgres"}
        assert killed_at - SETTLED_S <= at


@pytest.mark.parametrize("part", ["postgres", "dispatcher-1"])
async def test_nothing_is_missing_when_a_part_is_killed_while_apps_are_read_past_a_crowd(
    breakable_world: World, part: str
) -> None:
    world = breakable_world
    await world.here.stop("dispatcher-2")
    app = await world.app()
    crowd = await world.app(uid=_name_in_the_shard_of(app.id, world.here.settings.shards))
    endpoints = [await world.endpoint(app, "/first")]
    load, number = Load(world, app), 12_000
    await world.here.stop("dispatcher-1")
    await _publish_crowd(world, f"events.{crowd.uid}.{TYPE}", number)

    async with load.running(by_http=0, by_nats=4):
        await world.here.start("dispatcher-1")
        await until(partial(_reads_past, world))
        await world.here.kill(part)
        await world.here.start(part)
        await load.more(40)

    # What Postgres forgot of what was read past the crowd is read again behind it.
    await _all_taken(world, app, crowd, number)
    await nothing_is_missing(world, app, endpoints, load)
    await what_was_accepted_was_counted(world, app)


async def _reads_past(world: World) -> bool:
    """Tell whether any event was taken past a crowd."""
    metrics = (await world.http.get("/metrics", headers={"authorization": ""})).text
    found = re.search(r"^hookline_events_bypassed_total (.+)$", metrics, re.MULTILINE)
    return found is not None and float(found[1]) > 0


def _name_in_the_shard_of(app_id: str, shards: int) -> str:
    """Make a uid whose events lie in the same shard as those of an app's id."""
    wanted = shard_of(app_id, shards)
    names = (f"crowd-{secrets.token_hex(8)}" for _ in count())
    return next(name for name in names if shard_of(name, shards) == wanted)


async def _publish_crowd(world: World, subject: str, number: int) -> None:
    """Publish many events, as quickly as the stream acknowledges them."""
    jetstream = (await world.bus()).jetstream(publish_async_max_pending=500)
    for _ in range(number):
        await jetstream.publish_async(subject, b"{}")
    await jetstream.publish_async_completed()


async def _all_taken(world: World, app: ApplicationOut, crowd: ApplicationOut, n: int) -> None:
    """Wait until a shard's own source has come to the last event of an app behind a crowd."""
    jetstream = (await world.bus()).jetstream()
    last = await jetstream.get_last_msg(STREAM, f"shard.*.{app.id}.{TYPE}")
    link = await asyncpg.connect(world.here.database_url)

    async def taken() -> bool:
        count = "SELECT count(*) FROM message WHERE app_id = $1"
        position = "SELECT position FROM shard WHERE id = $1"
        shard = shard_of(app.id, world.here.settings.shards)
        stands = await link.fetchval(position, shard) >= last.seq
        return bool(stands and await link.fetchval(count, crowd.id) == n)

    try:
        await until(taken, within_s=30, every_s=0.1)
    finally:
        await link.close()


def _repeated_at(came: Iterable[Received]) -> list[float]:
    """Say when that came for the first time which came again."""
    times: defaultdict[tuple[str, str | None], list[float]] = defaultdict(list)
    for one in came:
        times[one.path, one.header("webhook-id")].append(one.at)
    return [min(at) for at in times.values() if len(at) > 1]
