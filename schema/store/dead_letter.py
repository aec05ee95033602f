"""Dead letters, as the API reads and moves them; settling parks them."""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from schema.dead_letter import DeadLetter, LetterState
from schema.delivery import Reason
from schema.store import statements
from schema.store.link import Link
from schema.store.span import Span

_SQL = statements.load("dead_letter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters of a page are meant; None is all. `statuses`: from, to; no answer is 0."""

    state: LetterState = LetterState.PARKED
    endpoint_id: str | None = None
    event_types: tuple[str, ...] | None = None
    reason: str | None = None
    statuses: tuple[int, int] | None = None
    fault: str | None = None


async def by_id(link: Link, app_id: str, letter_id: str) -> DeadLetter | None:
    """Give a letter, whole."""
    row = await link.fetchrow(_SQL["by_id"], app_id, letter_id)
    return None if row is None else _noun(row)


async def page(link: Link, app_id: str, span: Span, wanted: Filter) -> list[DeadLetter]:
    """Give letters without payload and response, in the direction of the scan."""
    least, most = wanted.statuses or (None, None)
    given = (
        app_id,
        span.low,
        span.high,
        span.limit,
        wanted.state,
        wanted.event_types,
        wanted.reason,
        least,
        most,
        wanted.fault,
    )
    if wanted.endpoint_id is None:
        rows = await link.fetch(_SQL[f"page_{span.way}"], *given)
    else:
        rows = await link.fetch(_SQL[f"endpoint_{span.way}"], *given, wanted.endpoint_id)
    return [_noun(row) for row in rows]


async def redeliver(link: Link, app_id: str, letter_id: str, at: datetime) -> bool:
    """Mark a letter as being on its way; False if it was already, or is not there."""
    return await link.fetchval(_SQL["redeliver"], app_id, letter_id, at) is not None


async def redeliver_of(
    link: Link, app_id: str, message_id: str, endpoint_id: str, at: datetime
) -> None:
    """Mark the letter of a delivery, if there is one, as being on its way."""
    await link.execute(_SQL["redeliver_of"], app_id, message_id, endpoint_id, at)


async def discard(link: Link, app_id: str, letter_id: str, at: datetime) -> bool:
    """Give a parked letter up for good; False if it is not parked."""
    return await link.fetchval(_SQL["discard"], app_id, letter_id, at) is not None


async def park_cancelled(link: Link, app_id: str, message_id: str, at: datetime) -> None:
    """Park the letters of a message again whose redelivery was called off."""
    await link.execute(_SQL["park_cancelled"], app_id, message_id, at)


async def parked(link: Link) -> int:
    """Count the parked letters. Costs the more, the more letters there are."""
    number: int = await link.fetchval(_SQL["parked"])
    return number


def _noun(row: "asyncpg.Record") -> DeadLetter:
    return DeadLetter(
        app_id=row["app_id"],
        id=row["id"],
        message_id=row["message_id"],
        endpoint_id=row["endpoint_id"],
        state=LetterState(row["state"]),
        reason=Reason(row["reason"]),
        event_type=row["event_type"],
        event_id=row["event_id"],
        channels=None if row["channels"] is None else tuple(row["channels"]),
        payload=row["payload"],
        content_type=row["content_type"],
        url=row["url"],
        status=row["status"],
        fault=row["fault"],
        detail=row["detail"],
        response=row["response"],
        fingerprint=row["fingerprint"],
        attempts=row["attempts"],
        message_at=row["message_at"],
        first_attempt_at=row["first_attempt_at"],
        last_attempt_at=row["last_attempt_at"],
        last_attempt_id=row["last_attempt_id"],
        parked_at=row["parked_at"],
        updated_at=row["updated_at"],
    )
