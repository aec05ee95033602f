"""Pages by keyset, in the form that the SDKs walk: data, iterator, prevIterator, done.

An iterator is the key of the last item of a page; `-` before one asks for what stands before it.
Rows are scanned from the iterator away and one more than asked for, so that `done` is known;
pages are always shown in display order, whichever way they were scanned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from starlette.requests import Request

from gateway.query import Query

DEFAULT_LIMIT: Final = 50
MAX_LIMIT: Final = 250
LAST: Final = "~"  # sorts behind every id and name
NO_ITERATOR: Final = "this is not an iterator of this list"
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What page is asked for.

    Attributes:
        iterator: The key to scan away from; None starts at the end where the display starts.
        backward: Whether the items before the iterator are meant.
        ascending: The display order.
    """

    limit: int
    iterator: str | None
    backward: bool
    ascending: bool

    @property
    def scans_up(self) -> bool:
        """Tell the direction in which rows are to be fetched: by growing keys or not."""
        return self.ascending != self.backward

    @property
    def bound(self) -> str:
        """Give the key that all rows must be greater (scanning up) or smaller than."""
        if self.iterator is not None:
            return self.iterator
        return "" if self.scans_up else LAST

    @property
    def fetch(self) -> int:
        """Say how many rows to fetch: one more than shown."""
        return self.limit + 1


def read_page(request: Request, *, default_ascending: bool, check: Callable[[str], bool]) -> Page:
    """Read `limit`, `iterator` and `order` from a query.

    Args:
        request: Asks for a page.
        default_ascending: The display order of this list.
        check: Tells whether a text can be a key of this list.

    Raises:
        RequestFault: A parameter cannot be read.
        Invalid: The limit is out of range, or the iterator is none of this list.
    """
    query = Query(request)
    limit = query.integer("limit", minimum=1, maximum=MAX_LIMIT)
    order = query.choice("order", ("ascending", "descending"))
    page = page_of(
        limit,
        query.text("iterator"),
        ascending=default_ascending if order is None else order == "ascending",
    )
    if page.iterator is not None and not check(page.iterator):
        query.fault("iterator", NO_ITERATOR)
    query.check()
    return page


def page_of(limit: int | None, given: str | None, *, ascending: bool) -> Page:
    """Say what page a limit and an iterator ask for; whether it is one is not looked at."""
    backward = given is not None and given.startswith("-")
    return Page(
        limit=DEFAULT_LIMIT if limit is None else limit,
        iterator=given[1:] if given is not None and backward else given,
        backward=backward,
        ascending=ascending,
    )


def envelope(
    rows: Sequence[Row],
    page: Page,
    key: Callable[[Row], str],
    show: Callable[[Row], object],
) -> dict[str, object]:
    """Make the answer of a page.

    Args:
        rows: In scan order, up to one more than the limit.
        page: What was asked for.
        key: Gives the key of a row, as iterators carry it.
        show: Gives what the answer shows of a row.
    """
    shown = list(rows[: page.limit])
    if page.backward:
        shown.reverse()
    last = {"iterator": key(shown[-1]) if shown else None}
    first = {"prevIterator": f"-{key(shown[0])}"} if shown else {}
    return {"data": [show(row) for row in shown], **last, **first, "done": len(rows) <= page.limit}
