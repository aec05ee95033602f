"""The parameters of a query, in every encoding that the SDKs send."""

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from gateway.query import Query
from schema.errors import RequestFault


def query(text: str) -> Query:
    return Query(Request({"type": "http", "query_string": text.encode(), "headers": []}))


@pytest.mark.parametrize(
    "text",
    [
        "t=a,b",
        "t=a&t=b",
        "t[]=a&t[]=b",
        "t[0]=a&t[1]=b",
        "t%5B%5D=a&t%5B%5D=b",
        "t=a,,b&t=a",
    ],
)
def test_lists_are_read_in_all_encodings(text: str) -> None:
    assert query(text).texts("t") == ("a", "b")


@pytest.mark.parametrize("text", ["", "t=", "t=,", "other=a"])
def test_an_empty_list_is_absent(text: str) -> None:
    assert query(text).texts("t") is None


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02t03:04:05z",
        "2026-01-02 03:04:05Z",
        "2026-01-02T03:04:05.000000000Z",
        "2026-01-02T04:04:05+01:00",
        "2026-01-02T04:04:05 01:00",
        "2026-01-02T03:04:05",
    ],
)
def test_times_are_read_in_the_forms_that_clients_send(text: str) -> None:
    assert query(f"t={quote(text, safe=' ')}").time("t") == datetime(
        2026, 1, 2, 3, 4, 5, tzinfo=UTC
    )


@pytest.mark.parametrize("text", ["2026-01-02T03:00Z", "2026-01-02T05:00+02:00"])
def test_a_time_of_a_whole_minute_is_read_as_java_writes_it(text: str) -> None:
    assert query(f"t={quote(text)}").time("t") == datetime(2026, 1, 2, 3, tzinfo=UTC)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-7))])))
def test_a_time_that_python_writes_is_read_as_the_same_moment(moment: datetime) -> None:
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return

    assert query(f"t={quote(moment.isoformat())}").time("t") == expected


@pytest.mark.parametrize(
    "text",
    [
        "t=now",
        "t=2026-01-02",
        "t=2026-13-02T00:00:00Z",
        "t=20260102T030405Z",
        "t=0001-01-01T00:00:00%2B14:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RequestFault):
        query(text).time("t")


@pytest.mark.parametrize("text", ["b=1", "b=True", "b=yes"])
def test_only_true_and_false_are_booleans(text: str) -> None:
    with pytest.raises(RequestFault):
        query(text).boolean("b", default=False)


def test_a_nul_character_is_refused_before_anything_is_read() -> None:
    with pytest.raises(RequestFault):
        query("a=b%00")
