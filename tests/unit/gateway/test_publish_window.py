from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from starlette.requests import Request

from gateway.cursor import LAST, Page
from gateway.query import Query
from gateway.window import is_key, plain, read_window
from schema import ids
from schema.store.span import Span

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def query(**parameters: str) -> Query:
    return Query(Request({"type": "http", "query_string": urlencode(parameters).encode()}))


def page(iterator: str | None = None, *, backward: bool = False, ascending: bool = False) -> Page:
    return Page(limit=10, iterator=iterator, backward=backward, ascending=ascending)


def first(at: datetime) -> str:
    return ids.first_id(ids.MESSAGE, at)


def test_without_bounds_a_log_goes_back_ninety_days() -> None:
    window = read_window(query(), page(), ids.MESSAGE, NOW)

    assert window.span == Span(low=first(NOW - 90 * DAY), high=LAST, up=False, limit=11)


@pytest.mark.parametrize("backward", [False, True])
def test_an_iterator_reaches_ninety_days_to_its_side(*, backward: bool) -> None:
    iterator = ids.new_id(ids.MESSAGE, NOW - 200 * DAY)

    window = read_window(query(), page(iterator, backward=backward), ids.MESSAGE, NOW)

    span = window.span
    assert span.up is backward
    if backward:
        assert (span.low, span.high) == (iterator, first(NOW - 110 * DAY))
    else:
        assert (span.low, span.high) == (first(NOW - 290 * DAY), iterator)


def test_before_is_exclusive_after_is_inclusive_and_a_bound_frees_the_ninety_days() -> None:
    at = NOW - 300 * DAY
    of_the_time = ids.new_id(ids.MESSAGE, at)

    up_to = read_window(query(before=at.isoformat()), page(), ids.MESSAGE, NOW).span
    since = read_window(query(after=at.isoformat()), page(), ids.MESSAGE, NOW).span

    assert up_to.low == ""
    assert not up_to.low < of_the_time < up_to.high
    assert since.low < of_the_time < since.high


def test_after_alone_asks_for_the_oldest_since_then_shown_as_a_page_before() -> None:
    window = read_window(query(after=NOW.isoformat()), page(), ids.MESSAGE, NOW)

    assert window.span == Span(low=first(NOW), high=LAST, up=True, limit=11)
    assert window.page.backward


def test_an_iterator_and_a_window_both_restrict() -> None:
    iterator = ids.new_id(ids.MESSAGE, NOW)
    bounds = {"after": (NOW - DAY).isoformat(), "before": (NOW + DAY).isoformat()}

    down = read_window(query(**bounds), page(iterator), ids.MESSAGE, NOW).span
    up = read_window(query(**bounds), page(iterator, backward=True), ids.MESSAGE, NOW).span

    assert (down.low, down.high, down.up) == (first(NOW - DAY), iterator, False)
    assert (up.low, up.high, up.up) == (iterator, first(NOW + DAY), True)


@pytest.mark.parametrize("year", ["0001", "2013", "9999"])
def test_times_that_no_id_can_say_are_the_nearest_that_one_can(year: str) -> None:
    span = read_window(
        query(after=f"{year}-01-01T00:00:00Z", before="2026-01-01T00:00:00Z"),
        page(),
        ids.MESSAGE,
        NOW,
    ).span

    assert is_key(ids.MESSAGE, span.low)


def test_a_list_without_a_window_reads_from_the_iterator_on() -> None:
    assert plain(page(ascending=True)) == Span(low="", high=LAST, up=True, limit=11)
    assert plain(page("ep_x", ascending=True)) == Span(low="ep_x", high=LAST, up=True, limit=11)
    assert plain(page("ep_x", ascending=True, backward=True)) == Span(
        low="", high="ep_x", up=False, limit=11
    )


@pytest.mark.parametrize("text", ["msg_", "ep_" + "0" * 27, "msg_" + "z" * 27, "msg_" + "-" * 27])
def test_what_is_no_id_of_the_list_is_no_key(text: str) -> None:
    assert not is_key(ids.MESSAGE, text)
