"""Attempts exported by OTLP: collectors of environments, and the attempts that wait for them.

Settling stages which attempts there were; what they were is looked up when they are exported.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from schema.otel import Collector, Tried
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("otel")
_COUNTED: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A collector, and how it has been going.

    Attributes:
        failures: In a row.
        next_at: When it is tried next, if any.
        waiting: Attempts that are still to be exported.
    """

    collector: Collector
    failures: int
    next_at: datetime
    last_error: str | None
    last_error_at: datetime | None
    exported_at: datetime | None
    waiting: int


class Claim(NamedTuple):
    """An environment that this process alone exports for a while."""

    id: str
    environment_id: str
    url: str
    headers: bytes | None
    failures: int


class Staged(NamedTuple):
    """An attempt that waits, by its number; `tried` is None where it is not there any more."""

    number: int
    tried: Tried | None


async def wanted(link: Link) -> bool:
    """Tell whether any environment has its attempts exported."""
    return bool(await link.fetchval(_SQL["wanted"]))


async def find(link: Link, environment_id: str) -> Known | None:
    """Find an environment's collector."""
    row = await link.fetchrow(_SQL["find"], environment_id, _COUNTED)
    if row is None:
        return None
    return Known(
        collector=Collector(
            environment_id=row["environment_id"],
            url=row["url"],
            headers=row["headers"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
        ),
        failures=row["failures"],
        next_at=row["next_at"],
        last_error=row["last_error"],
        last_error_at=row["last_error_at"],
        exported_at=row["exported_at"],
        waiting=row["waiting"],
    )


async def put(
    link: Link, environment_id: str, *, url: str, headers: bytes | None, at: datetime
) -> None:
    """Make or replace an environment's collector; it is tried at once."""
    await link.execute(_SQL["put"], environment_id, url, headers, at)


async def delete(link: Link, environment_id: str) -> None:
    """Forget an environment's collector, if it has one; what waits for it goes with a `sweep`."""
    await link.execute(_SQL["delete"], environment_id)


async def claim(
    link: Link, claim_id: str, *, now: datetime, until: datetime, failing: bool, most: int
) -> list[Claim]:
    """Claim environments that have something to export.

    Args:
        link: A connection.
        claim_id: What the claim is known by.
        now: The present.
        until: When anybody else may have them.
        failing: Those whose last export failed, or the others.
        most: How many.
    """
    rows = await link.fetch(_SQL["claim"], now, until, claim_id, failing, most)
    return [
        Claim(claim_id, row["environment_id"], row["url"], row["headers"], row["failures"])
        for row in rows
    ]


async def page(link: Link, environment_id: str, most: int) -> list[Staged]:
    """Give the attempts that were staged first."""
    rows = await link.fetch(_SQL["page"], environment_id, most)
    return [Staged(row["place"], _tried(environment_id, row)) for row in rows]


async def done(link: Link, environment_id: str, numbers: Sequence[int]) -> None:
    """Forget attempts that are exported."""
    await link.execute(_SQL["done"], environment_id, numbers)


async def went_well(link: Link, claimed: Claim, at: datetime, why: str | None) -> None:
    """End a claim; `why` says what the collector did not like although it took the rest."""
    await link.execute(_SQL["went_well"], claimed.environment_id, claimed.id, at, why)


async def failed(link: Link, claimed: Claim, at: datetime, *, why: str, next_at: datetime) -> None:
    """End a claim of which nothing came."""
    await link.execute(_SQL["failed"], claimed.environment_id, claimed.id, at, why, next_at)


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that tidies up now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def trim(link: Link, most: int) -> int:
    """Forget the oldest attempts where more than `most` of an environment wait; say how many."""
    return int(await link.fetchval(_SQL["trim"], most))


async def sweep(link: Link, most: int) -> int:
    """Forget up to `most` attempts that nobody wants any more; say how many."""
    return int(await link.fetchval(_SQL["sweep"], most))


async def waiting(link: Link) -> int:
    """Say how many attempts wait, up to a million."""
    return int(await link.fetchval(_SQL["waiting"], _COUNTED))


def _tried(environment_id: str, row: "asyncpg.Record") -> Tried | None:
    if row["endpoint_id"] is None:
        return None
    return Tried(
        environment_id=environment_id,
        app_id=row["app_id"],
        app_uid=row["app_uid"],
        endpoint_id=row["endpoint_id"],
        message_id=row["message_id"],
        event_id=row["event_id"],
        attempt_id=row["attempt_id"],
        event_type=row["event_type"],
        number=row["number"],
        delivered=row["delivered"],
        url=row["url"],
        status=row["status"],
        fault=row["fault"],
        detail=row["detail"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        phases_ms=tuple(row["phases_ms"] or ()),
    )
