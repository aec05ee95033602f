"""A page's envelope, walked both ways over a list that an index would scan."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from gateway.cursor import DEFAULT_LIMIT, Page, envelope, read_page
from schema.errors import Invalid, RequestFault

KEYS = st.lists(st.text("abcxyz019", min_size=1, max_size=4), unique=True, max_size=30).map(sorted)


def asked(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


def read(query: str, *, ascending: bool = True) -> Page:
    return read_page(asked(query), default_ascending=ascending, check=str.isalnum)


def scan(keys: list[str], page: Page) -> list[str]:
    """Do what the statements do."""
    if page.scans_up:
        return [key for key in keys if key > page.bound][: page.fetch]
    return [key for key in reversed(keys) if key < page.bound][: page.fetch]


def fetch(keys: list[str], page: Page) -> dict[str, object]:
    same: Callable[[str], str] = str
    return envelope(scan(keys, page), page, same, same)


def walk(keys: list[str], *, limit: int, ascending: bool) -> tuple[list[str], str | None]:
    seen: list[str] = []
    iterator: str | None = None
    for _ in range(len(keys) + 2):
        page = Page(limit=limit, iterator=iterator, backward=False, ascending=ascending)
        got = fetch(keys, page)
        seen.extend(got["data"])
        if got["done"]:
            return seen, got.get("prevIterator")
        iterator = got["iterator"]
    pytest.fail("the walk does not end")


@given(keys=KEYS, limit=st.integers(1, 7), ascending=st.booleans())
def test_a_walk_forward_shows_every_item_once_and_in_order(
    *, keys: list[str], limit: int, ascending: bool
) -> None:
    seen, _ = walk(keys, limit=limit, ascending=ascending)

    assert seen == (keys if ascending else keys[::-1])


@given(keys=KEYS, limit=st.integers(1, 7), ascending=st.booleans())
def test_a_walk_back_from_the_last_page_shows_all_that_stands_before_it(
    *, keys: list[str], limit: int, ascending: bool
) -> None:
    forward, previous = walk(keys, limit=limit, ascending=ascending)
    behind = forward.index(previous[1:]) if previous else 0

    seen: list[str] = []
    done = previous is None
    while not done:
        page = read(
            f"limit={limit}&iterator={previous}&order={'asc' if ascending else 'desc'}ending"
        )
        got = fetch(keys, page)
        seen = [*got["data"], *seen]
        previous, done = got.get("prevIterator"), got["done"]

    assert seen == forward[:behind]


@given(
    keys=KEYS,
    limit=st.integers(1, 7),
    ascending=st.booleans(),
    backward=st.booleans(),
    data=st.data(),
)
def test_a_page_is_done_exactly_when_nothing_more_lies_in_its_direction(
    *, keys: list[str], limit: int, ascending: bool, backward: bool, data: st.DataObject
) -> None:
    iterator = data.draw(st.sampled_from([*keys, "m"]))
    page = Page(limit=limit, iterator=iterator, backward=backward, ascending=ascending)

    got = fetch(keys, page)

    shown = keys if ascending else keys[::-1]
    beyond = [k for k in shown if (k > iterator) == (ascending != backward) and k != iterator]
    assert got["done"] == (len(beyond) <= limit)
    assert got["data"] == (beyond[-limit:] if backward else beyond[:limit])


def test_an_empty_page_has_no_iterators_and_is_done() -> None:
    got = fetch([], read(""))

    assert got == {"data": [], "iterator": None, "done": True}


def test_a_full_last_page_is_done() -> None:
    got = fetch(["a", "b"], read("limit=2"))

    assert got == {"data": ["a", "b"], "iterator": "b", "prevIterator": "-a", "done": True}


def test_without_parameters_a_page_has_fifty_items_in_the_lists_own_order() -> None:
    page = read("", ascending=False)

    assert page == Page(limit=DEFAULT_LIMIT, iterator=None, backward=False, ascending=False)
    assert not page.scans_up


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=0", "limit"), ("limit=251", "limit"), ("iterator=a.b", "iterator")],
)
def test_what_can_be_read_but_is_not_allowed_names_its_parameter(query: str, field: str) -> None:
    with pytest.raises(Invalid) as raised:
        read(query)

    assert [fault.loc for fault in raised.value.faults] == [("query", field)]


@pytest.mark.parametrize("query", ["limit=x", "limit=1.5", "order=up", "limit=" + "9" * 30])
def test_what_cannot_be_read_is_refused_at_once(query: str) -> None:
    with pytest.raises(RequestFault) as raised:
        read(query)

    assert not isinstance(raised.value, Invalid)
