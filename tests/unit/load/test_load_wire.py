"""What the load and its receiver say to each other, without a socket."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import ids
from tests.load.http_wire import read_answer, write_request
from tests.load.payload import BODY_BYTES, HEAD_BYTES, Kind, body, path, read_head
from tests.load.receiver import Clerk, Connection, Log
from tests.load.rows.punctual import Retry
from tests.load.seed import seeded_id
from tests.load.site import first_arrivals, latency_ms
from tests.load.workers import Arrival

AT = datetime(2026, 5, 1, tzinfo=UTC)


class Wire:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True


def connection(log: Log) -> tuple[Connection, Wire]:
    wire = Wire()
    made = Connection(log)
    made.connection_made(cast("Any", wire))
    return made, wire


def request(number: int, kind: Kind = Kind.KEEP, endpoint: int = 0, at_ns: int = 1) -> bytes:
    content = body(at_ns, number)
    head = f"POST {path(kind, endpoint)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


@given(st.integers(0, 10**17), st.integers(0, 10**7))
def test_a_body_says_when_it_was_to_go_and_which_it_is(at_ns: int, number: int) -> None:
    made = body(at_ns, number)

    assert len(made) == BODY_BYTES
    assert read_head(made[:HEAD_BYTES]) == (at_ns, number)


@given(st.lists(st.integers(1, 700), max_size=6))
def test_requests_are_found_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    log = Log()
    receiver, wire = connection(log)
    stream = request(7, endpoint=3) + request(8, endpoint=12)

    for cut in [*cuts, len(stream)]:
        receiver.data_received(stream[:cut])
        stream = stream[cut:]

    assert [row[1:] for row in log.rows()] == [(1, 7, 3), (1, 8, 12)]
    assert wire.written.count(b"HTTP/1.1 204") == 2


def test_a_length_may_be_written_in_any_letters() -> None:
    log = Log()
    receiver, _ = connection(log)

    receiver.data_received(request(1).replace(b"Content-Length", b"content-length"))

    assert len(log.rows()) == 1


def test_a_receiver_that_fails_does_so_twice_for_each_tenth_event() -> None:
    receiver, wire = connection(Log())

    for number in (9, 10, 20, 10, 10, 11):
        receiver.data_received(request(number, Kind.FAIL))

    statuses = [int(line[:3]) for line in wire.written.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [204, 500, 500, 500, 204, 204]


def test_a_receiver_that_hangs_notes_and_does_not_answer() -> None:
    log = Log()
    receiver, wire = connection(log)

    receiver.data_received(request(1, Kind.HANG))

    assert (len(log.rows()), wire.written, wire.is_closed) == (1, b"", False)


def test_a_receiver_that_closes_says_so_first() -> None:
    receiver, wire = connection(Log())

    receiver.data_received(request(1, Kind.CLOSE))

    assert b"Connection: close" in wire.written
    assert wire.is_closed


def test_what_came_twice_counts_once() -> None:
    log = Log()
    receiver, _ = connection(log)
    clerk = Clerk(log)

    for number, endpoint in ((1, 0), (1, 0), (1, 1)):
        receiver.data_received(request(number, endpoint=endpoint))

    assert clerk.answer("counts")["received"] == 3
    assert clerk.answer("unique") == {"unique": 2}
    assert clerk.answer("reset")["received"] == 0


def test_of_what_came_twice_the_first_is_kept() -> None:
    early = Arrival(arrival_ns=2_000_000, intended_ns=0, number=1, endpoint=0)
    late = early._replace(arrival_ns=9_000_000)

    kept = first_arrivals([early, late])

    assert kept == [early]
    assert latency_ms(kept, 99) == 2.0


@pytest.mark.parametrize("whole", [b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"])
def test_an_answer_is_read_when_it_is_whole(whole: bytes) -> None:
    assert [read_answer(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
    assert read_answer(whole) == (202, b"ok")


def test_a_request_names_the_host_and_the_key() -> None:
    made = write_request("http://127.0.0.1:80", "hk_1", "POST", "/x", b"{}")

    first, *headers = made.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert first == b"POST /x HTTP/1.1"
    assert {b"Host: 127.0.0.1:80", b"Authorization: Bearer hk_1"} < {*headers}
    assert made.endswith(b"Content-Length: 2\r\n\r\n{}")


@given(st.integers(0, 10**7))
def test_a_seeded_id_is_one_of_its_moment_and_sorts_by_number(number: int) -> None:
    made = seeded_id(ids.MESSAGE, AT, number)

    assert ids.is_id(ids.MESSAGE, made)
    assert abs(ids.time_of(made) - AT) <= timedelta(milliseconds=8)
    assert made < seeded_id(ids.MESSAGE, AT, number + 1) < ids.first_id(ids.MESSAGE, AT + _HOUR)


def test_a_retry_is_early_by_the_log_by_the_receiver_or_by_the_schedule() -> None:
    punctual = {"started_at": AT, "arrived_at": AT + _MS, "failed_arrival_at": AT - _SECOND}

    def is_early(**other: datetime) -> bool:
        return Retry(due_at=AT, wait_s=1.0, **(punctual | other)).is_early

    assert not is_early()
    assert is_early(started_at=AT - _MS)
    assert is_early(arrived_at=AT - _MS)
    assert is_early(failed_arrival_at=AT + 2 * _MS - _SECOND)


_MS = timedelta(milliseconds=1)
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
