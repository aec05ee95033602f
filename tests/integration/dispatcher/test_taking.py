"""What a batch of events becomes: whoever dies, whatever is published, whoever owns the shard."""

import asyncio
import json
import secrets
from datetime import timedelta

import pytest
from nats.aio.client import Client

from schema import ids
from schema.event import STREAM, Draft
from schema.store import intake as store
from schema.store import shard as shards
from schema.store.link import Pool
from tests.dispatching import (
    BODY,
    Running,
    World,
    dispatching,
    eventually,
    now,
    publish,
    publish_raw,
    taken,
)
from tests.receiver import Receiver
from tests.services import SHARDS, Services

STREAM_AT = now()
NOTHING = store.Stored(0, None)


async def publish_many(bus: Client, app_id: str, number: int) -> None:
    await asyncio.gather(*(publish(bus, app_id, body=b"%d" % n) for n in range(number)))


async def bodies(world: World) -> list[int]:
    rows = await world.pool.fetch("SELECT payload FROM message")
    return sorted(int(row["payload"]) for row in rows)


@pytest.mark.usefixtures("stream")
async def test_an_event_is_stored_as_it_was_published(
    world: World, services: Services, bus: Client
) -> None:
    app_id = await world.app(uid="acme.example")
    body = b'{ "a":1.0,\n"a": "\xc3\xa9" }'
    headers = {
        "Hookline-App": "acme.example",
        "Hookline-Event-Id": "e-1",
        "Hookline-Channels": "red,green",
        "Hookline-Tags": "t/1",
        "Hookline-Environment": world.environment_id,
        "Hookline-Content-Type": "application/x+json",
    }
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, "placeholder", "paid", body=body, headers=headers)
        await taken(world, 1)

    row = await world.pool.fetchrow("SELECT * FROM message")
    assert row is not None
    assert (row["app_id"], row["event_type"], row["payload"]) == (app_id, "paid", body)
    assert (row["channels"], row["tags"], row["event_id"]) == (["red", "green"], ["t/1"], "e-1")
    assert row["content_type"] == "application/x+json"
    assert now() - row["created_at"] < timedelta(seconds=10)


@pytest.mark.usefixtures("stream")
async def test_an_event_that_names_an_endpoint_is_for_that_one_alone_whatever_it_takes(
    world: World, services: Services, bus: Client
) -> None:
    app_id = await world.app()
    await world.endpoint(app_id, "http://127.0.0.1:1/", state="paused")
    picky = await world.endpoint(
        app_id, "http://127.0.0.1:1/", state="paused", event_types=["other"]
    )
    disabled = await world.endpoint(app_id, "http://127.0.0.1:1/", state="disabled")
    letter_id = ids.new_id(ids.DEAD_LETTER, now())
    async with dispatching(world.pool, services.nats_url):
        for endpoint_id in (picky, disabled):
            headers = {"Hookline-Endpoint": endpoint_id, "Hookline-Dead-Letter": letter_id}
            await publish(bus, app_id, headers=headers)

        async def parked() -> bool:
            return len(await world.letters()) == 1

        await eventually(parked)

    found = await world.pool.fetch("SELECT endpoint_id, reason FROM delivery")
    assert {tuple(row) for row in found} == {(picky, None), (disabled, "endpoint_disabled")}
    linked = await world.pool.fetch("SELECT message_id, letter_id FROM message_origin ORDER BY 1")
    stored = await world.pool.fetch("SELECT id FROM message ORDER BY id")
    assert [tuple(row) for row in linked] == [(row["id"], letter_id) for row in stored]


REJECTED: list[tuple[str, str, str, bytes, dict[str, str]]] = [
    ("unknown_app", ids.new_id(ids.APP, now()), "a.b", b"{}", {}),
    ("unknown_app", "no-such-uid", "a.b", b"{}", {}),
    ("unknown_app", "APP", "a.b", b"{}", {"Hookline-Environment": "org_other"}),
    ("bad_subject", "APP", "a.b", b"{}", {"Hookline-App": secrets.token_urlsafe(3_000)}),
    ("bad_event_type", "APP", "a$b", b"{}", {}),
    ("not_json", "APP", "a.b", b"{", {}),
    ("not_json", "APP", "a.b", b"\xef\xbb\xbf{}", {}),
    ("too_large", "APP", "a.b", b'"' + b"x" * 2_000 + b'"', {}),
    ("bad_event_id", "APP", "a.b", b"{}", {"Hookline-Event-Id": "a b"}),
    ("bad_message_id", "APP", "a.b", b"{}", {"Hookline-Message-Id": "msg_1"}),
    ("bad_channels", "APP", "a.b", b"{}", {"Hookline-Channels": "a b"}),
    ("bad_tags", "APP", "a.b", b"{}", {"Hookline-Tags": "a:b"}),
    ("bad_reference", "APP", "a.b", b"{}", {"Hookline-Endpoint": "ep_1"}),
    ("bad_reference", "APP", "a.b", b"{}", {"Hookline-Dead-Letter": "dl_1"}),
    ("unknown_endpoint", "APP", "a.b", b"{}", {"Hookline-Endpoint": f"ep_{'1' * 27}"}),
]


@pytest.mark.usefixtures("stream")
async def test_what_cannot_be_a_message_is_kept_with_the_reason_and_stops_nobody(
    world: World, services: Services, bus: Client
) -> None:
    app_id = await world.app()
    for _, app, event_type, body, headers in REJECTED:
        name = app_id if app == "APP" else app
        await publish(bus, name, event_type, body=body, headers=headers)
    await bus.jetstream().publish("events.alone", b"{}")
    await publish(bus, app_id)

    async with dispatching(world.pool, services.nats_url, max_payload_bytes=1_000):
        rows = await world.rejected(len(REJECTED) + 1)
        await taken(world, 1)

    assert [row["reason"] for row in rows] == [*(r[0] for r in REJECTED), "bad_subject"]
    assert [row["body"] for row in rows] == [*(r[3] for r in REJECTED), b"{}"]
    assert [row["headers"] for row in rows] == [*(r[4] for r in REJECTED), {}]
    assert all(row["detail"] for row in rows)


HOSTILE = [
    (b"events.a.\xff\xfe.x", b"", "bad_event_type"),
    (b"events.\xff\xfe.x", b"", "bad_subject"),
    (b"events.a.b\0c", b"", "bad_event_type"),
    (b"events.a.b", b"Hookline-Event-Id: a\0b\r\n", "bad_event_id"),
    (b"events.a.b", b"Hookline-App: a\0b\r\n", "bad_subject"),
    (b"events.a.b", b"Hookline-Environment: a\0b\r\n", "not_storable"),
    (b"events.a.b", b"Hookline-Environment: \xff\xfe\r\n", "unknown_app"),
    (b"events.nobody.b", b"X-\xff: \xfe\0\r\nno colon\r\n: nameless\r\n", "unknown_app"),
]


@pytest.mark.usefixtures("stream")
async def test_bytes_that_no_client_would_publish_are_rejected_and_stop_nobody(
    world: World, services: Services, bus: Client
) -> None:
    app_id = await world.app(uid="a")
    async with dispatching(world.pool, services.nats_url):
        for number, (subject, head, _) in enumerate(HOSTILE):
            await publish(bus, app_id, body=b"%d" % number)
            await publish_raw(services.nats_url, subject, b"{}", head)
        await publish(bus, app_id, body=b"%d" % len(HOSTILE))

        rows = await world.rejected(len(HOSTILE))
        await taken(world, len(HOSTILE) + 1)

    assert [row["reason"] for row in rows] == [reason for _, _, reason in HOSTILE]
    assert await bodies(world) == list(range(len(HOSTILE) + 1))


def dying(running: Running, *, behind_the_statement: bool) -> None:
    """Let a dispatcher die in the middle of its first batch."""
    intake = running.dispatcher._intake

    def end() -> None:
        running.task.cancel()
        raise asyncio.CancelledError

    if behind_the_statement:  # it is written, and nobody was told
        intake._on_taken = lambda _: end()
        return
    read = intake._read

    async def read_and_die(*given: object) -> object:
        await read(*given)  # type: ignore[arg-type]
        end()

    intake._read = read_and_die  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("behind_the_statement", [False, True], ids=["before it", "behind it"])
@pytest.mark.usefixtures("stream")
async def test_a_dispatcher_that_dies_around_the_statement_loses_and_repeats_nothing(
    world: World,
    services: Services,
    bus: Client,
    receiver: Receiver,
    behind_the_statement: bool,  # noqa: FBT001
) -> None:
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/hook"))
    async with dispatching(world.pool, services.nats_url) as first:
        dying(first, behind_the_statement=behind_the_statement)
        await publish_many(bus, app_id, 50)
        await eventually(first.task.done)

    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id, body=b"50")
        await taken(world, 51)
        assert await world.settled(51) == {"delivered": 51}

    assert await bodies(world) == list(range(51))
    assert len({r.header("webhook-id") for r in receiver.requests}) == len(receiver.requests) == 51


@pytest.mark.usefixtures("stream")
async def test_a_statement_whose_answer_got_lost_is_not_forgotten(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/hook"))
    async with dispatching(world.pool, services.nats_url) as running:
        intake, lost = running.dispatcher._intake, list[object]()
        report = intake._report

        async def report_or_lose(*given: object, once: bool) -> None:
            if not lost:
                lost.append(given)
                raise ConnectionResetError
            await report(*given, once=once)  # type: ignore[arg-type]

        intake._report = report_or_lose  # type: ignore[method-assign,assignment]
        await publish_many(bus, app_id, 20)

        assert await world.settled(20) == {"delivered": 20}
    assert lost
    assert len(receiver.requests) == 20


@pytest.mark.usefixtures("stream")
async def test_a_database_that_was_restored_reads_the_stream_again_from_where_it_was(
    world: World, services: Services, bus: Client
) -> None:
    app_id = await world.app()
    async with dispatching(world.pool, services.nats_url):
        await publish_many(bus, app_id, 10)
        await taken(world, 10)
    await world.pool.execute("DELETE FROM message WHERE payload >= '3'")
    await world.pool.execute("UPDATE shard SET position = 3 WHERE position > 0")

    async with dispatching(world.pool, services.nats_url):
        await taken(world, 10)

    assert await bodies(world) == list(range(10))


@pytest.mark.usefixtures("stream")
async def test_an_app_that_is_addressed_by_uid_wakes_the_owner_of_its_shard(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    async with (
        dispatching(world.pool, services.nats_url, "d1") as first,
        dispatching(world.pool, services.nats_url, "d2", owns=4) as second,
    ):
        await first.owns(4)
        theirs = first.dispatcher._shards.epochs
        shard = next(iter(second.dispatcher._shards.epochs))
        uids = [uid for n in range(24) if ids.shard_of(uid := f"uid-{n}", SHARDS) in theirs]
        for uid in uids:
            await world.endpoint(await world.app(uid=uid, shard=shard), receiver.url("/hook"))

        await asyncio.gather(*(publish(bus, uid) for uid in uids))

        assert uids
        assert await world.settled(len(uids)) == {"delivered": len(uids)}
    late = await world.pool.fetchval("SELECT max(last_attempt_at - created_at) FROM delivery")
    assert late < timedelta(seconds=5)
    assert await world.pool.fetchval("SELECT count(*) FROM wake") == 0


@pytest.mark.usefixtures("stream")
async def test_a_flood_of_one_shard_does_not_stand_before_another_s_events(
    world: World, services: Services, bus: Client
) -> None:
    flood, quiet = await world.app(shard=1), await world.app(shard=2)
    await publish_many(bus, flood, 1_200)
    await publish(bus, quiet)
    async with dispatching(world.pool, services.nats_url, intake_batch=32):
        await taken(world, 1_201)

    written = await world.pool.fetch("SELECT app_id FROM message ORDER BY xmin::text::bigint")
    assert [row["app_id"] for row in written].index(quiet) < 600


@pytest.mark.usefixtures("stream")
async def test_our_hash_is_the_one_that_the_server_s_partition_uses(bus: Client) -> None:
    names = [ids.new_id(ids.APP, now()) for _ in range(30)] + ["a", "acme", "é", "x" * 200]
    sequences = [await publish(bus, name) for name in names]

    for name, sequence in zip(names, sequences, strict=True):
        request = json.dumps({"seq": sequence}).encode()
        reply = await bus.request(f"$JS.API.STREAM.MSG.GET.{STREAM}", request)
        subject = json.loads(reply.data)["message"]["subject"]
        assert subject == f"shard.{ids.shard_of(name, SHARDS)}.{name}.a.b"


# The statement itself.


def draft(message_id: str, *, app: str, event_id: str | None = None, keyed: bool = False) -> Draft:
    return Draft(
        message_id=message_id,
        app=app,
        environment=None,
        event_type="a.b",
        event_id=event_id,
        channels=None,
        tags=None,
        body=BODY,
        content_type="application/json",
        at=now(),
        by_gateway=False,
        keyed=keyed,
    )


async def take(
    pool: Pool,
    claim: shards.Claim,
    owner: str,
    position: int,
    *drafts: Draft,
    known: store.Stored = NOTHING,
) -> store.Answer:
    taking = store.Taking()
    for one in drafts:
        number = taking.add(claim.shard, one.app, one)
        taking.fan_out(number, "ep_1", claim.shard, foreign=False)
    place = store.Position(
        epoch=claim.epoch, sequence=position, stream_at=STREAM_AT, known=known, events=len(drafts)
    )
    async with pool.acquire() as link:
        return await store.take(link, owner, {claim.shard: place}, taking)


async def claimed(pool: Pool, owner: str) -> shards.Claim:
    async with pool.acquire() as link:
        (claim,) = await shards.claim(link, owner, most=1, lease_s=10.0, held=())
    return claim


async def test_a_batch_of_a_former_owner_is_refused_whole(pool: Pool) -> None:
    app_id = ids.new_id(ids.APP, now())
    message_id = ids.new_id(ids.MESSAGE, now())
    old = await claimed(pool, "d1")
    await pool.execute("UPDATE shard SET lease_until = now() - interval '1 second' WHERE id = 0")
    new = await claimed(pool, "d2")
    assert (new.shard, new.epoch) == (old.shard, old.epoch + 1)

    late = await take(pool, old, "d1", 7, draft(message_id, app=app_id))

    assert (late.fenced, late.moved) == (set(), {})
    assert await pool.fetchval("SELECT count(*) FROM message") == 0
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 0
    assert await pool.fetchval("SELECT position FROM shard WHERE id = $1", new.shard) == 0
    fresh = await take(pool, new, "d2", 7, draft(message_id, app=app_id))
    assert fresh == ({new.shard}, set(), {})
    assert await pool.fetchval("SELECT position FROM shard WHERE id = $1", new.shard) == 7


async def test_a_batch_that_is_written_twice_says_what_was_known(pool: Pool) -> None:
    app_id = ids.new_id(ids.APP, now())
    claim = await claimed(pool, "d1")
    plain, named = (ids.new_id(ids.MESSAGE, now()) for _ in range(2))
    drafts = [draft(plain, app=app_id), draft(named, app=app_id, event_id="e1")]

    assert await take(pool, claim, "d1", 2, *drafts) == ({claim.shard}, set(), {})
    assert await take(pool, claim, "d1", 2, *drafts) == ({claim.shard}, {1, 2}, {})
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 2


async def test_a_batch_behind_one_that_postgres_has_forgotten_is_refused_whole(pool: Pool) -> None:
    app_id = ids.new_id(ids.APP, now())
    claim = await claimed(pool, "d1")
    first, second = (draft(ids.new_id(ids.MESSAGE, now()), app=app_id) for _ in range(2))
    await take(pool, claim, "d1", 2, first)
    here = store.Stored(2, STREAM_AT)

    forgotten = await take(pool, claim, "d1", 9, second, known=store.Stored(5, STREAM_AT))
    followed = await take(pool, claim, "d1", 9, second, known=here)

    assert forgotten == (set(), set(), {claim.shard: here})
    assert followed == ({claim.shard}, set(), {})
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 2


async def test_of_messages_with_one_idempotency_key_the_first_is_stored(pool: Pool) -> None:
    app_id, claim = ids.new_id(ids.APP, now()), await claimed(pool, "d1")
    first, again, late = (
        ids.new_id(ids.MESSAGE, now() + timedelta(seconds=s), b"k" * 17) for s in range(3)
    )
    other = ids.new_id(ids.MESSAGE, now(), b"l" * 17)
    drafts = [draft(ident, app=app_id, keyed=True) for ident in (first, again, other)]

    together = await take(pool, claim, "d1", 3, *drafts)
    afterwards = await take(
        pool,
        claim,
        "d1",
        4,
        draft(late, app=app_id, keyed=True, event_id="e1"),
        known=store.Stored(3, STREAM_AT),
    )

    assert (together.repeated, afterwards.repeated) == ({2}, {1})
    stored = await pool.fetch("SELECT id FROM message")
    assert {row["id"] for row in stored} == {first, other}
    assert await pool.fetchval("SELECT count(*) FROM delivery") == 2
    assert await pool.fetchval("SELECT count(*) FROM message_event_id") == 0


async def test_another_app_may_have_the_same_key(pool: Pool) -> None:
    claim = await claimed(pool, "d1")
    idents = [ids.new_id(ids.MESSAGE, now(), b"k" * 17) for _ in range(2)]
    drafts = [draft(ident, app=ids.new_id(ids.APP, now()), keyed=True) for ident in idents]

    answer = await take(pool, claim, "d1", 2, *drafts)

    assert answer.repeated == set()


@pytest.mark.usefixtures("stream")
async def test_what_postgres_forgets_under_a_running_dispatcher_is_read_again(
    world: World, services: Services, bus: Client, receiver: Receiver
) -> None:
    app_id = await world.app()
    await world.endpoint(app_id, receiver.url("/"))
    async with dispatching(world.pool, services.nats_url):
        await publish_many(bus, app_id, 10)
        await taken(world, 10)
        # As a standby that is promoted without the last of its primary's commits.
        async with world.pool.acquire() as link, link.transaction():
            await link.execute("DELETE FROM message WHERE payload >= '3'")
            await link.execute(
                "DELETE FROM delivery WHERE message_id NOT IN (SELECT id FROM message)"
            )
            await link.execute("UPDATE shard SET position = 3 WHERE position > 0")

        await publish(bus, app_id, body=b"10")
        await taken(world, 11)

        assert await bodies(world) == list(range(11))
        assert await world.settled(11) == {"delivered": 11}
