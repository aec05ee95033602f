"""What is counted across apps: attempts, and the event types that endpoints ask for.

A page is given as the API shows it, with the id of its last app.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("statistics")


class Attempted(NamedTuple):
    """Attempts of some periods, one after the other, by how they ended."""

    delivered: list[int]
    failed: list[int]


class Endpoints(NamedTuple):
    """How many endpoints there are; a paused one is active."""

    active: int
    disabled: int


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


async def attempted(
    link: Link, app_id: str, *, since: datetime, period: timedelta, periods: int
) -> Attempted:
    """Count the attempts for an app, period by period; a period is whole minutes."""
    until, period_s = since + periods * period, int(period.total_seconds())
    return in_periods(await link.fetch(_SQL["attempted"], app_id, since, until, period_s), periods)


def in_periods(rows: Iterable["asyncpg.Record"], periods: int) -> Attempted:
    """Give what rows count of some periods; in those that they do not name there was nothing."""
    counted = Attempted([0] * periods, [0] * periods)
    for row in rows:
        counted.delivered[row["period"]] = row["delivered"]
        counted.failed[row["period"]] = row["failed"]
    return counted


async def endpoints(link: Link, environment_id: str, *, without_play: bool) -> Endpoints:
    """Count the endpoints of an environment."""
    row = await link.fetchrow(_SQL["endpoints"], environment_id, without_play)
    return Endpoints(row["active"], row["disabled"]) if row else Endpoints(0, 0)


async def active_apps(
    link: Link, environment_id: str, *, without_play: bool, without_disabled: bool
) -> int:
    """Count the apps of an environment that have an endpoint."""
    number: int = await link.fetchval(
        _SQL["active_apps"], environment_id, without_play, without_disabled
    )
    return number
