"""How endpoints fare: what is known of them, and the history.

What their owners set (paused, disabled) a trigger on `endpoint` writes, in the transaction of it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import asyncpg

from schema import ids
from schema.health import WINDOW, By, Health, HealthState, Look, Recent, Streak
from schema.store import statements
from schema.store.link import Link

MOST_COUNTED: Final = 100_000  # deliveries or letters; past that there are many, however many

_SQL = statements.load("health")
_DAY: Final = timedelta(days=1)


class Place(NamedTuple):
    """An endpoint of an app."""

    app_id: str
    endpoint_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an endpoint.

    Attributes:
        by: Who brought the state about.
        key_id: With which key, if it was one that we know.
        outage_at: When the last outage began, also after its end.
    """

    place: Place
    state: HealthState
    at: datetime
    by: By | None
    key_id: str | None
    reason: str
    streak: Streak | None
    warned_at: datetime | None
    outage_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One of many endpoints, with what its owners call it."""

    known: Known
    app_uid: str | None
    endpoint_uid: str | None
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One of an endpoint's history. `was` None: it was made so, or was so before there was one."""

    number: int
    at: datetime
    was: HealthState | None
    state: HealthState
    by: By
    key_id: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Attempts by how they ended."""

    delivered: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What an endpoint is owed, what it lost, and how it fared; counts end at `MOST_COUNTED`.

    Attributes:
        lost_since: The time of the oldest message from which on recovering finds what an outage
            cost; None: there was no outage.
        lost: How many deliveries that finds.
    """

    recently: Rate
    in_a_day: Rate
    owed: int
    parked: int
    lost_since: datetime | None
    lost: int


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that looks at endpoints now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def known(link: Link) -> dict[Place, Health]:
    """Give what is known of the active endpoints that must be looked at in any case."""
    return {
        Place(row["app_id"], row["endpoint_id"]): Health(
            state=HealthState(row["state"]), streak=_streak(row), warned_at=row["warned_at"]
        )
        for row in await link.fetch(_SQL["open"])
    }


async def tried(link: Link, now: datetime) -> dict[Place, Recent]:
    """Give what attempts of late came to, where any failed, or of those that are `known`."""
    return {
        Place(row["app_id"], row["endpoint_id"]): Recent(
            delivered=row["delivered"],
            failed=row["failed"],
            good_at=row["good_at"],
            failed_at=row["failed_at"],
            last_at=row["last_at"],
            failures=row["failures"],
            fresh=row["fresh"],
        )
        for row in await link.fetch(_SQL["tried"], now - WINDOW)
    }


async def good(link: Link, streaks: Mapping[Place, Streak]) -> dict[Place, datetime]:
    """Give which streaks had a success after all, and when the last was."""
    since = [streak.since for streak in streaks.values()]
    rows = await link.fetch(_SQL["good"], *_columns(streaks), since)
    return {Place(row["app_id"], row["endpoint_id"]): row["good_at"] for row in rows}


async def spared(link: Link, places: Collection[Place]) -> set[Place]:
    """Give those endpoints whose environment disables none by itself."""
    rows = await link.fetch(_SQL["spared"], *_columns(places))
    return {Place(row["app_id"], row["endpoint_id"]) for row in rows}


async def hold(link: Link, places: Collection[Place]) -> dict[Place, str]:
    """Keep others from changing endpoints; give the environments of those that are active.

    Those that somebody changes just now are left out.
    """
    rows = await link.fetch(_SQL["hold"], *_columns(places))
    return {Place(row["app_id"], row["endpoint_id"]): row["environment_id"] for row in rows}


async def write(
    link: Link, environments: Mapping[Place, str], looks: Mapping[Place, Look], now: datetime
) -> None:
    """Write what looks at endpoints came to, and the changes of state into the history."""
    streaks = [look.health.streak for look in looks.values()]
    await link.execute(
        _SQL["write"],
        now,
        [environments[place] for place in looks],
        *_columns(looks),
        [look.health.state for look in looks.values()],
        [look.why for look in looks.values()],
        [streak and streak.since for streak in streaks],
        [streak and streak.last_at for streak in streaks],
        [streak.failures if streak else 0 for streak in streaks],
        [look.health.warned_at for look in looks.values()],
    )


async def disable(link: Link, places: Collection[Place], reason: str, now: datetime) -> None:
    """Disable endpoints that `hold` gave; the history is written by the trigger."""
    await link.execute(_SQL["disable"], *_columns(places), now, reason)


async def act_as(link: Link, key_id: str) -> None:
    """Say with which key this transaction changes endpoints' states."""
    await link.execute(_SQL["act_as"], key_id)


async def find(link: Link, place: Place) -> Known | None:
    """Give what is known of an endpoint; None: nothing but good."""
    row = await link.fetchrow(_SQL["find"], *place)
    return None if row is None else _known(row)


async def page(
    link: Link,
    environment_id: str,
    states: Collection[HealthState],
    *,
    bound: str,
    up: bool,
    limit: int,
) -> list[Listed]:
    """Give up to `limit` endpoints of some states beyond a key, in the direction of the scan."""
    name = "page_up" if up else "page_down"
    rows = await link.fetch(_SQL[name], environment_id, bound, list(states), limit)
    return [
        Listed(
            known=_known(row),
            app_uid=row["app_uid"],
            endpoint_uid=row["endpoint_uid"],
            url=row["url"],
        )
        for row in rows
    ]


async def history(link: Link, place: Place, *, bound: int, up: bool, limit: int) -> list[Change]:
    """Give up to `limit` changes of an endpoint beyond a number, in the direction of the scan."""
    rows = await link.fetch(_SQL["history_up" if up else "history_down"], *place, bound, limit)
    return [
        Change(
            number=row["number"],
            at=row["at"],
            was=None if row["state_was"] is None else HealthState(row["state_was"]),
            state=HealthState(row["state"]),
            by=By(row["state_by"]),
            key_id=row["key_id"],
            reason=row["reason"],
        )
        for row in rows
    ]


async def numbers(
    link: Link, place: Place, *, shard: int, outage_at: datetime | None, now: datetime
) -> Numbers:
    """Count what an endpoint is owed and lost.

    Args:
        link: A connection.
        place: The endpoint.
        shard: Of its app.
        outage_at: When the last outage began.
        now: The present.
    """
    rates = await link.fetchrow(_SQL["rates"], *place, now - WINDOW, now - _DAY)
    assert rates is not None  # noqa: S101 - an aggregate has a row
    since, lost = None, 0
    if outage_at is not None:
        parked_from = ids.first_id(ids.DEAD_LETTER, outage_at)
        oldest = await link.fetchval(_SQL["oldest_lost"], *place, parked_from, MOST_COUNTED)
        since = outage_at if oldest is None else min(outage_at, oldest)
        message_from = ids.first_id(ids.MESSAGE, since)
        lost = await link.fetchval(_SQL["dead"], *place, message_from, MOST_COUNTED)
    return Numbers(
        recently=Rate(delivered=rates["delivered"], failed=rates["failed"]),
        in_a_day=Rate(delivered=rates["day_delivered"], failed=rates["day_failed"]),
        owed=await link.fetchval(_SQL["owed"], shard, *place, MOST_COUNTED),
        parked=await link.fetchval(_SQL["parked"], *place, MOST_COUNTED),
        lost_since=since,
        lost=lost,
    )


async def by_state(link: Link) -> dict[HealthState, int]:
    """Count the endpoints of all tenants by state."""
    rows = await link.fetch(_SQL["by_state"])
    return dict.fromkeys(HealthState, 0) | {HealthState(r["state"]): r["number"] for r in rows}


def _known(row: "asyncpg.Record") -> Known:
    return Known(
        place=Place(row["app_id"], row["endpoint_id"]),
        state=HealthState(row["state"]),
        at=row["state_at"],
        by=By(row["state_by"]) if row["reason"] else None,
        key_id=row["key_id"],
        reason=row["reason"],
        streak=_streak(row),
        warned_at=row["warned_at"],
        outage_at=row["outage_at"],
    )


def _streak(row: "asyncpg.Record") -> Streak | None:
    if row["failing_since"] is None:
        return None
    return Streak(
        since=row["failing_since"], last_at=row["last_failed_at"], failures=row["failures"]
    )


def _columns(places: Collection[Place]) -> tuple[Sequence[str], Sequence[str]]:
    return [place.app_id for place in places], [place.endpoint_id for place in places]
