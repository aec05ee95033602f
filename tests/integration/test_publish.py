"""Publishing to a real stream: group commits, repeated ids, a full stream, a server that dies."""

import asyncio
import itertools
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client

from deploy.settings import Settings
from deploy.streams import ensure_stream, events_stream
from gateway.ack import Ack, Uncertain
from gateway.publish import MOST_IN_BATCH, Publisher
from gateway.wire import outgoing
from schema import event, ids
from schema.errors import Overload, TooLarge, Unavailable
from tests.services import SHARDS, Services, connected

APP = ids.new_id(ids.APP, datetime.now(UTC))
SUBJECT = f"events.{APP}.user.created"
BODY = b'{"n": 1}'


def named(event_id: str | None = None) -> dict[str, str]:
    message_id = ids.new_id(ids.MESSAGE, datetime.now(UTC))
    headers = {event.MESSAGE_ID: message_id, event.DEDUPE_ID: message_id}
    return headers if event_id is None else headers | {event.DEDUPE_ID: f"{APP}:{event_id}"}


async def publish(publisher: Publisher, headers: dict[str, str], body: bytes) -> Ack:
    return await publisher.publish(outgoing(SUBJECT, headers, body))


async def stored(bus: Client, stream: str) -> list[dict[str, str]]:
    """Give the headers of all that lies on the stream, in order."""
    jetstream = bus.jetstream()
    found = []
    state = (await jetstream.stream_info(stream)).state
    for sequence in range(state.first_seq or 1, state.last_seq + 1):
        message = await jetstream.get_msg(stream, sequence, direct=True)
        found.append({**(message.headers or {}), "body": (message.data or b"").decode()})
    return found


async def test_what_comes_at_once_is_one_batch_and_each_caller_hears_of_its_own_event(
    bus: Client, stream: str
) -> None:
    events = [named() for _ in range(50)]
    async with Publisher(bus) as publisher:
        acks = await asyncio.gather(*(publish(publisher, h, BODY) for h in events))

    on_stream = await stored(bus, stream)
    assert [on_stream[ack.sequence - 1][event.MESSAGE_ID] for ack in acks] == [
        h[event.MESSAGE_ID] for h in events
    ]
    assert not any(ack.duplicate for ack in acks)
    assert len({headers["Nats-Batch-Id"] for headers in on_stream}) == 1
    assert {headers["body"] for headers in on_stream} == {BODY.decode()}


async def test_a_lone_event_goes_without_a_batch(bus: Client, stream: str) -> None:
    async with Publisher(bus) as publisher:
        ack = await publish(publisher, named(), BODY)

    assert ack == Ack(sequence=1)
    assert "Nats-Batch-Id" not in (await stored(bus, stream))[0]


async def test_a_repeated_id_in_a_batch_is_told_apart_and_the_others_are_stored_once(
    bus: Client, stream: str
) -> None:
    known, twice = named("known"), [named("twice"), named("twice")]
    async with Publisher(bus) as publisher:
        first = await publish(publisher, known, BODY)
        events = [*(named() for _ in range(20)), named("known"), *twice]
        acks = await asyncio.gather(*(publish(publisher, h, BODY) for h in events))

    assert acks[20] == Ack(sequence=first.sequence, duplicate=True)
    assert sorted(ack.duplicate for ack in acks[21:]) == [False, True]
    assert not any(ack.duplicate for ack in acks[:20])
    assert len(await stored(bus, stream)) == 1 + 20 + 1


async def test_many_that_come_together_go_in_as_few_batches_as_hold_them(
    bus: Client, stream: str
) -> None:
    number = 5 * MOST_IN_BATCH + 1
    events = [outgoing(SUBJECT, named(), BODY) for _ in range(number)]
    async with Publisher(bus) as publisher:
        results = await publisher.publish_all(events)

    sequences = [result.sequence for result in results if isinstance(result, Ack)]
    batches = Counter(headers.get("Nats-Batch-Id") for headers in await stored(bus, stream))
    assert sequences == [*range(1, number + 1)]
    assert list(batches.values()) == [*[MOST_IN_BATCH] * 5, 1]


async def test_of_many_a_repeated_id_and_one_too_large_concern_nobody_else(
    bus: Client, stream: str
) -> None:
    large = b'"' + b"x" * bus.max_payload + b'"'
    async with Publisher(bus) as publisher:
        await publish(publisher, named("known"), BODY)
        results = await publisher.publish_all(
            [
                *(outgoing(SUBJECT, named(), BODY) for _ in range(20)),
                outgoing(SUBJECT, named("known"), BODY),
                outgoing(SUBJECT, named(), large),
                outgoing(SUBJECT, named("new"), BODY),
            ]
        )

    acks = [result for result in results if isinstance(result, Ack)]
    assert isinstance(results[21], TooLarge)
    assert [ack.duplicate for ack in acks] == [False] * 20 + [True, False]
    assert len(await stored(bus, stream)) == 1 + 21


async def test_many_whose_answer_never_comes_are_uncertain_in_time_and_say_so(
    bus: Client, stream: str
) -> None:
    events = [outgoing(SUBJECT, named(f"e-{n}"), BODY) for n in range(12)]
    async with Publisher(bus, ack_timeout_s=0.3) as publisher:
        await publisher._answers.unsubscribe()

        results = await publisher.publish_all(events)

        publisher._answers = await bus.subscribe(f"{publisher._inbox}*", cb=publisher._on_answer)
        again = await publisher.publish_all(events)

    assert all(isinstance(result, Uncertain) for result in results)
    assert "may have been accepted" in str(results[0])
    assert {result.sequence for result in again if isinstance(result, Ack)} == set(range(1, 13))
    assert len(await stored(bus, stream)) == 12


async def test_an_event_whose_answer_was_lost_is_known_as_its_own_when_it_is_sent_again(
    bus: Client, stream: str
) -> None:
    async with Publisher(bus, ack_timeout_s=0.5) as publisher:
        await publisher._answers.unsubscribe()
        waiting = asyncio.ensure_future(publish(publisher, named("e-1"), BODY))
        async with asyncio.timeout(5):
            while not await stored(bus, stream):
                await asyncio.sleep(0.01)
        publisher._answers = await bus.subscribe(f"{publisher._inbox}*", cb=publisher._on_answer)

        ack = await waiting
        again = await publish(publisher, named("e-1"), BODY)

    assert ack == Ack(sequence=1, duplicate=False)
    assert again == Ack(sequence=1, duplicate=True)


async def test_a_batch_whose_answer_was_lost_is_stored_once(bus: Client, stream: str) -> None:
    events = [*(named() for _ in range(15)), named("e-1"), named("e-2")]
    async with Publisher(bus, ack_timeout_s=0.5) as publisher:
        await publisher._answers.unsubscribe()
        waiting = asyncio.gather(*(publish(publisher, h, BODY) for h in events))
        async with asyncio.timeout(5):
            while len(await stored(bus, stream)) < len(events):
                await asyncio.sleep(0.01)
        publisher._answers = await bus.subscribe(f"{publisher._inbox}*", cb=publisher._on_answer)

        acks = await waiting

    assert sorted(ack.sequence for ack in acks) == list(range(1, len(events) + 1))
    assert not any(ack.duplicate for ack in acks)
    assert len(await stored(bus, stream)) == len(events)


async def test_a_caller_that_gives_up_breaks_nothing_for_the_others(
    bus: Client, stream: str
) -> None:
    async with Publisher(bus) as publisher:
        waiting = [asyncio.ensure_future(publish(publisher, named(), BODY)) for _ in range(20)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[-1].cancel()

        acks = await asyncio.gather(*waiting[1:-1])

    assert len(acks) == 18
    assert len(await stored(bus, stream)) == 20


@pytest.mark.parametrize("callers", [1, 30])
async def test_a_full_stream_asks_to_come_back_later(bus: Client, callers: int) -> None:
    small = events_stream(Settings(), shards=SHARDS)
    small.max_bytes = 4_000
    await ensure_stream(bus.jetstream(), small)
    async with Publisher(bus) as publisher:
        with suppress(Overload):
            for _ in range(100):
                await publish(publisher, named(), BODY * 20)

        outcomes = await asyncio.gather(
            *(publish(publisher, named(), BODY * 20) for _ in range(callers)),
            return_exceptions=True,
        )

    await bus.jetstream().delete_stream(event.STREAM)
    assert all(isinstance(outcome, Overload) for outcome in outcomes)


async def test_without_a_stream_the_answer_is_unavailable_in_time(bus: Client) -> None:
    async with Publisher(bus, ack_timeout_s=0.3) as publisher:
        started = asyncio.get_running_loop().time()

        with pytest.raises(Unavailable):
            await publish(publisher, named(), BODY)

        assert asyncio.get_running_loop().time() - started < 2


@pytest.mark.usefixtures("stream")
async def test_an_event_larger_than_the_server_takes_is_refused_and_the_connection_stays(
    bus: Client,
) -> None:
    async with Publisher(bus) as publisher:
        with pytest.raises(TooLarge):
            await publish(publisher, named(), b'"' + b"x" * bus.max_payload + b'"')

        ack = await publish(publisher, named(), BODY)

    assert ack.sequence == 1
    assert bus.stats["reconnects"] == 0


async def test_a_close_publishes_what_still_waits(bus: Client, stream: str) -> None:
    async with Publisher(bus) as publisher:
        waiting = [asyncio.ensure_future(publish(publisher, named(), BODY)) for _ in range(30)]
        await asyncio.sleep(0)

    assert all(isinstance(task.result(), Ack) for task in waiting)
    assert len(await stored(bus, stream)) == 30


class Load:
    """Keeps publishing, and remembers what was acknowledged."""

    def __init__(self, publisher: Publisher) -> None:
        self.acked: dict[str, int] = {}
        self.stop = asyncio.Event()
        self._publisher = publisher
        self._numbers = itertools.count()

    async def produce(self) -> None:
        while not self.stop.is_set():
            headers = named(f"e-{next(self._numbers)}")
            with suppress(Unavailable, Overload):
                ack = await publish(self._publisher, headers, BODY)
                assert not ack.duplicate
                self.acked[headers[event.MESSAGE_ID]] = ack.sequence

    async def more(self, number: int) -> None:
        """Wait until so many more were acknowledged."""
        before = len(self.acked)
        async with asyncio.timeout(30):
            while len(self.acked) < before + number:
                await asyncio.sleep(0.01)


@pytest.mark.timeout(120)
async def test_every_acknowledged_event_outlives_a_server_killed_under_load(
    services: Services,
) -> None:
    async with connected(services.nats_url) as bus:
        config = events_stream(Settings(stream_max_bytes=2**28), shards=SHARDS)
        await ensure_stream(bus.jetstream(), config)
        async with Publisher(bus, ack_timeout_s=3) as publisher, asyncio.TaskGroup() as group:
            load = Load(publisher)
            for _ in range(64):
                group.create_task(load.produce())
            for _ in range(2):
                await load.more(300)
                await services.nats.kill()
                await services.nats.start()
            await load.more(300)
            load.stop.set()
        on_stream = await stored(bus, event.STREAM)
        await bus.jetstream().delete_stream(event.STREAM)

    found = Counter(headers[event.MESSAGE_ID] for headers in on_stream)
    assert [ident for ident in load.acked if found[ident] == 0] == []
    assert [ident for ident, times in found.items() if times > 1] == []
    for ident, sequence in load.acked.items():
        assert on_stream[sequence - 1][event.MESSAGE_ID] == ident
