"""Deliveries fanned out against what became of them, and events taken against those there were."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Final, NamedTuple

from schema.reconciliation import OPEN_S, AppDay, Progress, Terms
from schema.store import days, statements
from schema.store.link import Link

_SQL = statements.load("reconciliation")
UNKNOWN: Final = 96  # stretches of a day of which nobody counted a delivery
FIRST: Final = (date.min, "")
LAST: Final = (date.max, "~")


class Due(NamedTuple):
    """An app's day that is to be counted, and what was found the last time."""

    day: date
    app_id: str
    accepted: int
    difference: int


class Counted(NamedTuple):
    """What a count found, and when the next is due."""

    day: date
    app_id: str
    terms: Terms
    due_at: datetime | None


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that reconciles now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def try_lock_stream(link: Link) -> bool:
    """Tell whether this transaction is the one that asks the stream now."""
    return bool(await link.fetchval(_SQL["try_lock_stream"]))


async def state(link: Link) -> tuple[date, date]:
    """Give the first day that is reconciled, and the last that was walked."""
    row = await link.fetchrow(_SQL["state"])
    return (row["since"], row["walked_to"]) if row is not None else (date.min, date.max)


async def fold(link: Link, *, now: datetime, since: date) -> None:
    """Add up what was fanned out, of days from `since` on."""
    await link.execute(_SQL["fold"], now, since, OPEN_S)


async def walk(link: Link, day: date, now: datetime) -> None:
    """Find the apps that have deliveries of a day though none was counted."""
    await link.execute(_SQL["walk"], day, *days.bounds(day), now)
    await link.execute(_SQL["walked"], day)


async def due(link: Link, *, now: datetime, since: date, deliveries: int, most: int) -> list[Due]:
    """Give the app-days that are to be counted, as many as have so many deliveries together."""
    rows = await link.fetch(_SQL["due"], now, since, deliveries, most)
    return [Due(row["day"], row["app_id"], row["accepted"], row["difference"]) for row in rows]


async def terms(link: Link, wanted: Sequence[Due], *, at_once: int) -> list[Terms]:
    """Count what became of the deliveries of app-days, in their order.

    A day of more than `at_once`, or of nobody knows how many, is counted stretch by stretch, so
    that no statement takes long.
    """
    small = {one for one in wanted if 0 < one.accepted <= at_once}
    several = [(one, *days.bounds(one.day)) for one in wanted if one in small]
    found = dict(zip((one for one, *_ in several), await _terms(link, several), strict=True))
    for one in wanted:
        if one not in small:
            number = 1 + one.accepted // at_once if one.accepted else UNKNOWN
            parts = days.stretches(one.day, number)
            counted = [(await _terms(link, [(one, *part)]))[0] for part in parts]
            found[one] = Terms(*map(sum, zip(*counted, strict=True)))
    return [found[one] for one in wanted]


async def _terms(link: Link, wanted: Sequence[tuple[Due, str, str]]) -> list[Terms]:
    if not wanted:
        return []
    apps = [one.app_id for one, _, _ in wanted]
    lows, highs = [low for _, low, _ in wanted], [high for _, _, high in wanted]
    rows = await link.fetch(_SQL["terms"], apps, lows, highs)
    by_number = {row["number"]: Terms(*(row[name] for name in Terms._fields)) for row in rows}
    return [by_number[number] for number in range(1, len(wanted) + 1)]


async def note(link: Link, counted: Sequence[Counted], now: datetime) -> None:
    """Keep what was counted."""
    columns = zip(*((c.day, c.app_id, *c.terms, c.due_at) for c in counted), strict=True)
    await link.execute(_SQL["note"], *(list(column) for column in columns), now)


async def forget(link: Link, *, uncounted: date, before: date) -> None:
    """Count no more of days before `uncounted`; drop what is known of days before `before`."""
    await link.execute(_SQL["give_up"], uncounted)
    await link.execute(_SQL["prune"], before)


async def difference(link: Link) -> int:
    """Say by how many deliveries what was counted does not add up."""
    number: int = await link.fetchval(_SQL["difference"])
    return number


async def page(
    link: Link,
    environment_id: str,
    *,
    low: tuple[date, str],
    high: tuple[date, str],
    up: bool,
    limit: int,
    app_id: str | None,
    differing: bool,
) -> list[AppDay]:
    """Give app-days between two (exclusive), in the direction of the scan."""
    rows = await link.fetch(
        _SQL["page_up" if up else "page_down"],
        environment_id,
        *low,
        *high,
        limit,
        app_id,
        differing,
    )
    return [
        AppDay(
            day=row["day"],
            app_id=row["app_id"],
            app_uid=row["uid"],
            accepted=row["accepted"],
            terms=Terms(*(row[name] for name in Terms._fields)),
            difference=row["difference"],
            counted_at=row["counted_at"],
            closed=row["due_at"] is None,
        )
        for row in rows
    ]


async def unchecked(link: Link) -> list[tuple[int, Progress, Progress | None]]:
    """Give shards whose intake has gone on, how far, and how far it was at the last check."""
    return [
        (
            row["id"],
            Progress(
                position=row["position"],
                stream_at=row["stream_at"],
                taken=row["taken"],
                counted_from=row["counted_from"],
            ),
            None
            if row["was_position"] is None
            else Progress(
                position=row["was_position"],
                stream_at=row["was_stream_at"],
                taken=row["was_taken"],
            ),
        )
        for row in await link.fetch(_SQL["unchecked"])
    ]


async def checked(link: Link, shard: int, at: Progress) -> None:
    """Note up to where a shard was compared with the stream."""
    await link.execute(_SQL["checked"], shard, at.position, at.stream_at, at.taken)
