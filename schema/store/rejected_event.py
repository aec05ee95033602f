"""Rejected events, as the API reads them; the dispatcher's intake writes them."""

import asyncpg

from schema.dead_letter import RejectedEvent
from schema.store import statements
from schema.store.link import Link
from schema.store.span import Span

_SQL = statements.load("rejected_event")


async def by_id(
    link: Link, rejected_id: str, environment_id: str, *, also_stray: bool
) -> RejectedEvent | None:
    """Give a rejected event of an environment, or of none (`also_stray`)."""
    row = await link.fetchrow(_SQL["by_id"], rejected_id, environment_id, also_stray)
    return None if row is None else _noun(row)


async def page(
    link: Link, environment_id: str, span: Span, *, also_stray: bool, reason: str | None
) -> list[RejectedEvent]:
    """Give rejected events without bodies, in the direction of the scan."""
    rows = await link.fetch(
        _SQL[f"page_{span.way}"],
        environment_id,
        span.low,
        span.high,
        span.limit,
        also_stray,
        reason,
    )
    return [_noun(row) for row in rows]


def _noun(row: "asyncpg.Record") -> RejectedEvent:
    return RejectedEvent(
        id=row["id"],
        environment_id=row["environment_id"],
        app=row["app"],
        subject=row["subject"],
        headers=row["headers"],
        body=row["body"],
        reason=row["reason"],
        detail=row["detail"],
        sequence=row["sequence"],
        created_at=row["created_at"],
    )
