"""Failures of one cause have one fingerprint, and other causes have others."""

import string
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.delivery import Fault, Outcome, Reason
from schema.fingerprint import KEPT, LENGTH, fingerprint, reduce

TIMES = st.datetimes(
    min_value=datetime(2000, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
WORDS = st.text(string.ascii_letters + " ", min_size=1, max_size=30)
QUOTABLE = st.text(string.ascii_letters + string.digits + " .:/-", max_size=40)
HEX = st.text(string.hexdigits, min_size=16, max_size=64)


def of(body: bytes, status: int = 500) -> str:
    return fingerprint(Reason.EXHAUSTED, Outcome(status=status, body=body))


@given(st.binary(max_size=3_000))
def test_whatever_is_answered_is_reduced_to_a_short_line_without_digits(body: bytes) -> None:
    reduced = reduce(body.decode(errors="replace"))

    assert len(reduced) <= KEPT
    assert not set(reduced) & set(string.digits)
    assert reduced == reduced.strip()
    assert len(of(body)) == LENGTH


@given(st.integers(min_value=0), st.integers(min_value=0))
def test_numbers_do_not_tell_failures_apart(one: int, other: int) -> None:
    assert of(b"order %d not found" % one) == of(b"order %d not found" % other)


@given(st.uuids(), st.uuids())
def test_uuids_do_not_tell_failures_apart(one: UUID, other: UUID) -> None:
    assert of(f"request {one} failed".encode()) == of(f"request {other} failed".encode())


@given(TIMES, TIMES)
def test_times_do_not_tell_failures_apart(one: datetime, other: datetime) -> None:
    lines = {of(f"at {at.isoformat()} it broke".encode()) for at in (one, other)}

    assert len(lines) == 1


@given(HEX, HEX)
def test_long_hexadecimal_texts_do_not_tell_failures_apart(one: str, other: str) -> None:
    assert of(f"trace={one};".encode()) == of(f"trace={other};".encode())


@pytest.mark.parametrize("quotes", ["''", '""', "``"])
@given(one=QUOTABLE, other=QUOTABLE)
def test_what_is_quoted_does_not_tell_failures_apart(quotes: str, one: str, other: str) -> None:
    lines = {of(f"no user {quotes[0]}{name}{quotes[1]} here".encode()) for name in (one, other)}

    assert len(lines) == 1


@given(st.text(" \t\r\n", min_size=1), WORDS)
def test_neither_spaces_nor_case_tell_failures_apart(spaces: str, word: str) -> None:
    assert of(f"a{spaces}{word}{spaces}".encode()) == of(f" A {word.upper()}".encode())


def test_the_texts_of_a_json_answer_do_tell_failures_apart() -> None:
    lost = of(b'{"error": "no such order", "order": 17}')

    assert lost == of(b'{"error": "no such order", "order": 4711}')
    assert lost != of(b'{"error": "no database", "order": 17}')


def test_what_is_quoted_within_a_json_text_does_not() -> None:
    assert of(rb'{"error": "no user \"bob\" here"}') == of(rb'{"error": "no user \"eve\" here"}')


def test_an_apostrophe_opens_no_quotation() -> None:
    assert of(b"can't connect to db, won't try") != of(b"can't open the file, won't try")


def test_status_fault_and_reason_tell_failures_apart() -> None:
    outcomes = [
        (Reason.EXHAUSTED, Outcome(status=500)),
        (Reason.EXHAUSTED, Outcome(status=503)),
        (Reason.ABORTED, Outcome(status=500)),
        (Reason.GONE, Outcome(status=410)),
        (Reason.EXHAUSTED, Outcome(fault=Fault.DNS, detail="no such name")),
        (Reason.EXHAUSTED, Outcome(fault=Fault.TIMEOUT, detail="no such name")),
        (Reason.ENDPOINT_DISABLED, None),
        (Reason.ENDPOINT_DELETED, None),
    ]

    prints = {fingerprint(reason, outcome) for reason, outcome in outcomes}

    assert len(prints) == len(outcomes)


@pytest.mark.parametrize(
    "reason", [Reason.ENDPOINT_DISABLED, Reason.ENDPOINT_DELETED, Reason.EXPIRED]
)
def test_where_nothing_was_sent_any_more_the_last_answer_does_not_matter(reason: Reason) -> None:
    assert fingerprint(reason, Outcome(status=500, body=b"no")) == fingerprint(reason, None)


def test_a_large_answer_is_read_at_its_beginning() -> None:
    begin = b"upstream failed: " + b"words and more " * 100

    assert of(begin + b"x" * 60_000) == of(begin + b"y" * 60_000)
