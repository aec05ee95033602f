"""Rejected events, as the API reads and moves them; the dispatcher's intake writes them."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from schema.dead_letter import RejectedEvent, RejectedState
from schema.store import statements
from schema.store.link import Link
from schema.store.span import Span

_SQL = statements.load("rejected_event")


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedFilter:
    """Which rejected events are meant. `also_stray`: also those of no environment; None is all."""

    environment_id: str
    also_stray: bool
    state: RejectedState = RejectedState.REJECTED
    reason: str | None = None
    app: str | None = None


async def by_id(
    link: Link, rejected_id: str, environment_id: str, *, also_stray: bool
) -> RejectedEvent | None:
    """Give a rejected event of an environment, or of none (`also_stray`)."""
    row = await link.fetchrow(_SQL["by_id"], rejected_id, environment_id, also_stray)
    return None if row is None else _noun(row)


async def page(link: Link, wanted: RejectedFilter, span: Span) -> list[RejectedEvent]:
    """Give rejected events without bodies, in the direction of the scan."""
    rows = await link.fetch(_SQL[f"page_{span.way}"], *_values(wanted, span))
    return [_noun(row) for row in rows]


async def count(link: Link, wanted: RejectedFilter, span: Span) -> int:
    """Count rejected events, up to the span's limit."""
    number: int = await link.fetchval(_SQL["count"], *_values(wanted, span))
    return number


async def discard(link: Link, rejected_id: str, *, at: datetime, key_id: str) -> bool:
    """Give one up; False if it was already, or became a message."""
    return await link.fetchval(_SQL["discard"], rejected_id, at, key_id) is not None


async def reserve(
    link: Link, rejected_id: str, *, message_id: str, app_id: str, since: str
) -> str | None:
    """Choose the message that one is to become, and keep to it; None if it became one.

    Args:
        link: A connection.
        rejected_id: The event.
        message_id: The choice, unless there was one before.
        app_id: Whose message it will be; a choice for another app does not count.
        since: The message id that an earlier choice must be greater than.
    """
    chosen: str | None = await link.fetchval(
        _SQL["reserve"], rejected_id, message_id, app_id, since
    )
    return chosen


async def resubmitted(
    link: Link, rejected_id: str, *, message_id: str, app_id: str, at: datetime, key_id: str
) -> bool:
    """Say which message one became; False if it had become one."""
    found = await link.fetchval(_SQL["resubmitted"], rejected_id, message_id, app_id, at, key_id)
    return found is not None


def _values(wanted: RejectedFilter, span: Span) -> tuple[object, ...]:
    return (
        wanted.environment_id,
        span.low,
        span.high,
        span.limit,
        wanted.also_stray,
        wanted.state,
        wanted.reason,
        wanted.app,
    )


def _noun(row: "asyncpg.Record") -> RejectedEvent:
    values = dict(row)
    return RejectedEvent(**values | {"state": RejectedState(values["state"])})
