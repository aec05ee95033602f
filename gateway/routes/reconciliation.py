"""What was accepted against what became of it: `/api/v1/reconciliation`, newest day first.

An app's day (of UTC, by the ids of its messages) is shown as day, appId, appUid, accepted,
delivered, owed, dead, cancelled, expired, difference, countedAt, closed. All numbers are of
`countedAt`; before the first count there are none but `accepted`. The list takes `after` and
`before` (the days that these times are of, the latter exclusive), `app_id` (an id or uid) and
`differing`: only what does not add up.
"""

import re
from datetime import date, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from gateway.answer import answer
from gateway.auth import Access, Caller
from gateway.cursor import Page, envelope, read_page
from gateway.parts import parts
from gateway.query import Query
from gateway.routing import AnyOperation, Operation
from schema import event, ids
from schema.reconciliation import AppDay
from schema.store import reconciliation as store

_ALL: Final = "/api/v1/reconciliation"
_KEY: Final = re.compile(r"(?P<day>\d{4}-\d\d-\d\d):(?P<app>app_[0-9A-Za-z]{27})\Z", re.ASCII)


def routes() -> list[AnyOperation]:
    """List the operations on the reconciliation."""
    return [Operation(method="GET", path=_ALL, access=Access.OPERATOR, handler=list_days)]


async def list_days(request: Request, caller: Caller) -> Response:
    """Give a page of the days of all apps, with what became of what was accepted."""
    given = parts(request)
    query = Query(request)
    page = read_page(request, default_ascending=False, check=_is_key)
    after, before = query.time("after"), query.time("before")
    wanted = query.text("app_id", pattern=event.UID_PATTERN)
    differing = query.boolean("differing", default=False)
    query.check()
    app = None if wanted is None else await given.apps.find(caller.environment_id, wanted)
    low = store.FIRST if after is None else (after.date() - timedelta(days=1), "~")
    high = store.LAST if before is None else (before.date(), "")
    low, high = _beyond(page, low, high)
    async with given.connection() as link:
        rows = await store.page(
            link,
            caller.environment_id,
            low=low,
            high=high,
            up=page.scans_up,
            limit=page.fetch,
            app_id=None if app is None else app.id,
            differing=differing,
        )
    return answer(envelope(rows, page, lambda one: f"{one.day}:{one.app_id}", _show))


def _show(one: AppDay) -> dict[str, object]:
    counted = one.accepted if one.counted_at is None else sum(one.terms) + one.difference
    return {
        "day": one.day,
        "appId": one.app_id,
        "appUid": one.app_uid,
        "accepted": counted,
        **one.terms._asdict(),
        "difference": one.difference,
        "countedAt": one.counted_at,
        "closed": one.closed,
    }


def _is_key(text: str) -> bool:
    found = _KEY.match(text)
    if found is None or not ids.is_id(ids.APP, found["app"]):
        return False
    try:
        date.fromisoformat(found["day"])
    except ValueError:
        return False
    return True


def _beyond(
    page: Page, low: tuple[date, str], high: tuple[date, str]
) -> tuple[tuple[date, str], tuple[date, str]]:
    """Go on behind, or before, what the iterator names."""
    if page.iterator is None:
        return low, high
    day, _, app_id = page.iterator.partition(":")
    key = (date.fromisoformat(day), app_id)
    return (max(low, key), high) if page.scans_up else (low, min(high, key))
