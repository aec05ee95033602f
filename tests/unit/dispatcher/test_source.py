"""A source hands on every event of its shard in order, and begins again where one is missing."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.source import (
    CROWDED,
    HEARTBEAT_S,
    PULL,
    SILENCE_S,
    Place,
    Source,
    consumer_request,
    pull_request,
    read_place,
)
from schema.event import Event

AT = datetime(2026, 5, 6, 7, 8, 9, tzinfo=UTC)
LOTS = 64 * 1_048_576


def source(position: int = 0) -> Source:
    made = Source(shard=3, epoch=1, position=position, stream_at=AT)
    made.begin("c1")
    return made


def event(sequence: int, size: int = 10) -> Event:
    return Event(subject="shard.3.app.type", headers={}, body=bytes(size), sequence=sequence, at=AT)


def place(consumed: int, sequence: int, pending: int = 0) -> Place:
    return Place("c1", sequence, consumed, AT, pending)


def fed(made: Source, *sequences: int, size: int = 10) -> Source:
    for sequence in sequences:
        made.accept(place(made.consumed + 1, sequence), event(sequence, size))
    return made


def test_events_are_handed_on_in_order() -> None:
    made = fed(source(), 4, 9, 12)

    assert [e.sequence for e in made.hand_on(2, LOTS)] == [4, 9]
    assert [e.sequence for e in made.hand_on(2, LOTS)] == [12]
    assert made.hand_on(2, LOTS) == []


def test_a_batch_gets_no_more_bytes_than_it_has_room_for_but_always_one_event() -> None:
    made = fed(source(), 1, 2, 3, size=60)

    assert len(made.hand_on(10, 130)) == 2
    assert len(made.hand_on(10, 1)) == 1


def test_subjects_are_sampled_while_a_source_is_crowded() -> None:
    made = source()

    made.accept(place(1, 1, pending=CROWDED - 1), event(1))
    assert list(made.sample) == []
    made.accept(place(2, 2, pending=CROWDED), event(2))
    made.hand_on(2, LOTS)
    assert list(made.sample) == ["shard.3.app.type"]

    made.accept(place(3, 3, pending=CROWDED - 1), event(3))
    assert list(made.sample) == []


def test_a_gap_breaks_a_source_and_it_begins_again_behind_the_last_event_it_has() -> None:
    made = fed(source(), 4, 9)

    made.accept(place(4, 15), event(15))

    assert made.broken
    assert [e.sequence for e in made.buffer] == [4, 9]
    assert made.next_sequence == 10


@given(st.integers(0, 50), st.integers(0, 10), st.integers(0, 10))
def test_a_new_consumer_starts_behind_what_is_taken_handed_on_or_waiting(
    position: int, buffered: int, handed: int
) -> None:
    made = fed(source(position), *range(position + 1, position + 1 + buffered))
    helped = made.hand_on(handed, LOTS)

    assert made.next_sequence == position + buffered + 1
    assert len(helped) == min(buffered, handed)


def test_a_new_consumer_counts_from_one_and_the_old_requests_count_no_more() -> None:
    made = fed(source(), 1)
    made.asked(PULL, 0.0)
    made.broken = True

    made.begin("c2")

    assert (made.outstanding, made.consumed, made.broken) == (0, 0, False)


def test_requests_keep_a_source_supplied_without_piling_up() -> None:
    made = source()
    made.usual_bytes = 1

    asked = made.wants(LOTS)
    made.asked(asked, 0.0)

    assert asked == PULL
    assert made.wants(LOTS) == 0
    fed(made, *range(1, PULL // 2 + 1))
    assert made.wants(LOTS) == 0, "half of it waits here, half is on its way"
    made.hand_on(PULL, LOTS)
    assert made.wants(LOTS) == PULL


def test_large_events_are_asked_for_a_few_at_a_time() -> None:
    made = source()
    assert made.wants(1_048_576) == 16, "it knows nothing yet"

    fed(made, 1, size=1_000_000)
    made.hand_on(1, LOTS)

    assert made.wants(1_048_576) == 1
    fed(made, *range(2, 200), size=500)
    made.hand_on(PULL, LOTS)
    assert made.wants(1_048_576) == PULL


@pytest.mark.parametrize(
    ("headers", "outstanding", "broken"),
    [
        ({"Status": "404", "Nats-Pending-Messages": "4"}, 6, False),
        ({"Status": "408", "Nats-Pending-Messages": "10"}, 0, False),
        ({"Status": "408", "Nats-Pending-Messages": "99"}, 0, False),
        ({"Status": "100"}, 10, False),
        ({"Status": "409", "Description": "Consumer Deleted"}, 10, True),
        ({"Status": "503"}, 10, True),
        ({}, 10, True),
    ],
)
def test_word_of_the_server_is_understood(
    headers: dict[str, str],
    outstanding: int,
    broken: bool,  # noqa: FBT001
) -> None:
    made = source()
    made.asked(10, 0.0)

    made.status(headers)

    assert (made.outstanding, made.broken) == (outstanding, broken)


def test_a_request_that_is_silent_for_too_long_is_lost() -> None:
    made = source()
    assert not made.overdue(1_000.0)

    made.asked(10, 0.0)

    assert not made.overdue(SILENCE_S)
    assert made.overdue(SILENCE_S + 0.1)


LATER = AT + timedelta(days=1)


@pytest.mark.parametrize(
    ("stream_at", "last", "follows", "position"),
    [
        (AT, 100, True, 40),
        (AT, 40, True, 40),
        (AT, 30, False, 30),  # the stream lost its end
        (LATER, 100, False, 0),  # it was made anew
        (LATER, 5, False, 0),
    ],
)
def test_another_stream_is_begun_at_its_start(
    stream_at: datetime,
    last: int,
    follows: bool,  # noqa: FBT001
    position: int,
) -> None:
    made = fed(source(40), 41)
    made.hand_on(1, LOTS)
    made.broken = True

    assert made.follows(stream_at, last) is follows
    if not follows:
        made.restart(stream_at, last)
    assert made.position == position
    if not follows:
        assert (made.next_sequence, list(made.buffer)) == (position + 1, [])


def test_a_first_stream_is_begun_where_the_position_is() -> None:
    made = Source(shard=0, epoch=1, position=0)

    made.restart(AT, 17)

    assert (made.position, made.stream_at) == (0, AT)


@pytest.mark.parametrize(
    "reply",
    [
        "$JS.ACK.EVENTS.c1.1.77.5.1778051289123456789.9",
        "$JS.ACK.hub.HASH.EVENTS.c1.1.77.5.1778051289123456789.9",
        "$JS.ACK._.HASH.EVENTS.c1.1.77.5.1778051289123456789.9.chance",
    ],
)
def test_where_an_event_stands_is_read_from_its_reply_subject(reply: str) -> None:
    found = read_place(reply)

    assert found == Place("c1", 77, 5, found.at, 9)
    assert found.at == datetime(2026, 5, 6, 7, 8, 9, 123456, tzinfo=UTC)


def test_a_consumer_is_asked_for_that_acknowledges_nothing_and_starts_where_we_are() -> None:
    asked = json.loads(consumer_request("EVENTS", "c7", source(41)))

    config = asked["config"]
    assert asked["stream_name"] == "EVENTS"
    assert (config["name"], config["opt_start_seq"]) == ("c7", 42)
    assert (config["ack_policy"], config["filter_subject"]) == ("none", "shard.3.>")
    shard_0 = json.loads(consumer_request("EVENTS", "c", Source(shard=0, epoch=1, position=0)))
    assert shard_0["config"]["filter_subjects"] == ["shard.0.>", "events.>"]
    pulled = json.loads(pull_request(5))
    assert (pulled["batch"], pulled["idle_heartbeat"]) == (5, HEARTBEAT_S * 1e9)
    assert pulled["expires"] >= 2 * pulled["idle_heartbeat"], "the server's own rule"
