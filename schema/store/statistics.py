"""What is counted across apps: attempts, and the event types that endpoints ask for.

A page is given as the API shows it, with the id of its last app.
"""

from datetime import datetime
from typing import Any, NamedTuple

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("statistics")


class Page(NamedTuple):
    """Some apps; `last` None: there are no more."""

    shown: list[dict[str, Any]]
    last: str | None


async def attempts(
    link: Link,
    environment_id: str,
    *,
    behind: str,
    most: int,
    since: datetime,
    until: datetime,
    app_ids: tuple[str, ...] | None,
) -> Page:
    """Count the attempts of a time, by the minute, for the next apps."""
    chosen = None if app_ids is None else list(app_ids)
    rows = await link.fetch(_SQL["attempts"], environment_id, behind, most, since, until, chosen)
    shown = [
        {"appId": row["id"], "appUid": row["uid"], "messageDestinations": row["attempts"]}
        for row in rows
    ]
    return Page(shown, rows[-1]["id"] if len(rows) == most else None)


async def subscriptions(link: Link, environment_id: str, *, behind: str, most: int) -> Page:
    """Give the event types that the endpoints of the next apps ask for."""
    rows = await link.fetch(_SQL["subscriptions"], environment_id, behind, most)
    shown = [
        {
            "appId": row["id"],
            "explicitlySubscribedEventTypes": row["event_types"] or [],
            "hasCatchAllEndpoint": row["takes_all"],
        }
        for row in rows
    ]
    return Page(shown, rows[-1]["id"] if len(rows) == most else None)
