"""The log of attempts, as the API reads it; settling writes it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from schema.delivery import Trigger
from schema.store import statements
from schema.store.link import Link
from schema.store.span import Span

_SQL = statements.load("attempt")
DELIVERED: Final = "delivered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One HTTP request and its outcome. Exactly one of `status` and `fault` is set.

    Attributes:
        number: Of the delivery's attempts, from 1.
        verdict: What it meant: delivered, retry, park or failed.
        response: None when there was none, it was expunged, or it was not asked for.
    """

    app_id: str
    id: str
    message_id: str
    endpoint_id: str
    event_type: str
    number: int
    trigger: Trigger
    verdict: str
    url: str
    status: int | None
    fault: str | None
    detail: str
    started_at: datetime
    duration_ms: int
    next_attempt_at: datetime | None
    phases_ms: tuple[float, ...]
    address: str | None
    reused: bool
    tls: str | None
    response: bytes | None
    response_headers: Mapping[str, Any] | list[Any] | None
    truncated: bool
    expunged_at: datetime | None

    @property
    def delivered(self) -> bool:
        """Tell whether the receiver has the message by this attempt."""
        return self.verdict == DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which attempts of a page are meant; None is all. `statuses`: from, to; no answer is 0."""

    event_types: tuple[str, ...] | None = None
    statuses: tuple[int, int] | None = None
    channel: str | None = None
    tag: str | None = None
    endpoint_id: str | None = None
    delivered: bool | None = None


async def by_id(link: Link, app_id: str, attempt_id: str) -> Attempt | None:
    """Give an attempt."""
    row = await link.fetchrow(_SQL["by_id"], app_id, attempt_id)
    return None if row is None else _noun(row)


async def first(link: Link, app_id: str, message_id: str, endpoint_id: str) -> Attempt | None:
    """Give the first attempt of a message at an endpoint."""
    row = await link.fetchrow(_SQL["first"], app_id, message_id, endpoint_id)
    return None if row is None else _noun(row)


async def of_endpoint(
    link: Link, app_id: str, endpoint_id: str, span: Span, wanted: Filter, *, with_response: bool
) -> list[Attempt]:
    """Give attempts to an endpoint, in the direction of the scan."""
    given = (app_id, endpoint_id, *_parameters(span, wanted), with_response)
    if wanted.delivered is False:
        rows = await link.fetch(_SQL[f"failed_{span.way}"], *given)
    else:
        only_delivered = wanted.delivered is not None
        rows = await link.fetch(_SQL[f"endpoint_{span.way}"], *given, only_delivered)
    return [_noun(row) for row in rows]


async def count(link: Link, app_id: str, endpoint_id: str, span: Span, wanted: Filter) -> int:
    """Count attempts to an endpoint, no further than the span's limit."""
    given = (app_id, endpoint_id, *_parameters(span, wanted), wanted.delivered)
    return int(await link.fetchval(_SQL["count"], *given))


async def of_message(
    link: Link, app_id: str, message_id: str, span: Span, wanted: Filter, *, with_response: bool
) -> list[Attempt]:
    """Give attempts to deliver a message, in the direction of the scan."""
    rows = await link.fetch(
        _SQL[f"message_{span.way}"],
        app_id,
        message_id,
        *_parameters(span, wanted),
        with_response,
        wanted.endpoint_id,
        wanted.delivered,
    )
    return [_noun(row) for row in rows]


async def expunge(link: Link, app_id: str, message_id: str, attempt_id: str, at: datetime) -> bool:
    """Forget what the receiver answered, also in a dead letter; False if there is no such attempt.

    Runs inside a transaction.
    """
    if await link.fetchval(_SQL["expunge"], app_id, message_id, attempt_id, at) is None:
        return False
    await link.execute(_SQL["expunge_letter"], app_id, message_id, attempt_id, at)
    return True


def _parameters(span: Span, wanted: Filter) -> tuple[object, ...]:
    """Give $3 to $10 of the pages."""
    least, most = wanted.statuses or (None, None)
    return (
        span.low,
        span.high,
        span.limit,
        wanted.event_types,
        least,
        most,
        wanted.channel,
        wanted.tag,
    )


def _noun(row: "asyncpg.Record") -> Attempt:
    return Attempt(
        app_id=row["app_id"],
        id=row["id"],
        message_id=row["message_id"],
        endpoint_id=row["endpoint_id"],
        event_type=row["event_type"],
        number=row["number"],
        trigger=Trigger(row["trigger"]),
        verdict=row["verdict"],
        url=row["url"],
        status=row["status"],
        fault=row["fault"],
        detail=row["detail"],
        started_at=row["started_at"],
        duration_ms=row["duration_ms"],
        next_attempt_at=row["next_attempt_at"],
        phases_ms=tuple(row["phases_ms"] or ()),
        address=row["address"],
        reused=row["reused"],
        tls=row["tls"],
        response=row["response"],
        response_headers=row["response_headers"],
        truncated=row["truncated"],
        expunged_at=row["expunged_at"],
    )
