"""Time windows of the logs, as stretches of ids: `before` exclusive, `after` inclusive.

Ids sort by time to 4 ms, so a window is a key range and touches only the partitions of its days.
Without a bound a log goes back 90 days from now, or 90 days to either side of an iterator. `after`
alone asks for the oldest items since then, shown newest first like all others.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request

from gateway.cursor import LAST, Page, read_page
from gateway.parts import parts
from gateway.query import Query
from schema import ids
from schema.store.span import Span

DEFAULT: Final = timedelta(days=90)
_FIRST_AT: Final = datetime.fromtimestamp(ids.EPOCH_S, UTC)
_LAST_AT: Final = _FIRST_AT + timedelta(seconds=2**32 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What is asked for: a page, and the stretch to read it from."""

    page: Page
    span: Span


def is_key(prefix: str, text: str) -> bool:
    """Tell whether a text can be an iterator over ids with this prefix."""
    if not ids.is_id(prefix, text):
        return False
    try:
        ids.time_of(text)
    except ValueError:
        return False
    return True


def plain(page: Page) -> Span:
    """Give the stretch of a page without a window."""
    if page.scans_up:
        return Span(low=page.bound, high=LAST, up=True, limit=page.fetch)
    return Span(low="", high=page.bound, up=False, limit=page.fetch)


def read_window(
    query: Query, page: Page, prefix: str, now: datetime, *, limited: bool = True
) -> Window:
    """Read `before` and `after` of a list that is shown newest first.

    Args:
        query: Has the parameters.
        page: What page is asked for.
        prefix: Of the ids that the list is ordered by.
        now: The present.
        limited: Whether the list goes back 90 days only, if no bound is given.

    Raises:
        RequestFault: A time cannot be read.
    """
    before, after = query.time("before"), query.time("after")
    return bounded(page, before, after, prefix, now, limited=limited)


def bounded(
    page: Page,
    before: datetime | None,
    after: datetime | None,
    prefix: str,
    now: datetime,
    *,
    limited: bool = True,
) -> Window:
    """Say where a page of a list lies that is shown newest first (see `read_window`)."""
    low = "" if after is None else id_of(prefix, after)
    high = LAST if before is None else id_of(prefix, before)
    if page.iterator is None and before is None and after is not None:
        page = replace(page, iterator=low, backward=not page.ascending)
    elif limited and before is None and after is None:
        low, high = _around(page, prefix, now)
    if page.iterator is not None:
        low, high = _beyond(page, page.iterator, low, high)
    span = Span(low=low, high=high, up=page.scans_up, limit=page.fetch)
    return Window(page=page, span=span)


def read_window_of(request: Request, query: Query, prefix: str, *, limited: bool = True) -> Window:
    """Read page and window of a log whose keys are ids with a prefix (see `read_window`)."""
    page = read_page(request, default_ascending=False, check=lambda key: is_key(prefix, key))
    return read_window(query, page, prefix, parts(request).clock(), limited=limited)


def _around(page: Page, prefix: str, now: datetime) -> tuple[str, str]:
    if page.iterator is None:
        return id_of(prefix, now - DEFAULT), LAST
    at = ids.time_of(page.iterator)
    return id_of(prefix, at - DEFAULT), id_of(prefix, at + DEFAULT)


def _beyond(page: Page, iterator: str, low: str, high: str) -> tuple[str, str]:
    if page.scans_up:
        return max(low, iterator), high
    return low, min(high, iterator)


def id_of(prefix: str, at: datetime) -> str:
    """Give the smallest id of a time; one that ids cannot tell is brought to the nearest."""
    return ids.first_id(prefix, min(max(at, _FIRST_AT), _LAST_AT))
