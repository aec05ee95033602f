"""Deliveries, as the API reads and re-opens them; the dispatcher makes and settles them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from schema.delivery import OWED, State
from schema.endpoint import EndpointState
from schema.message import Message
from schema.store import days, message, statements
from schema.store.link import Link
from schema.store.span import Span

_SQL = statements.load("delivery")
_DEAD: Final = frozenset({State.DEAD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a delivery stands. `due_at` is set while it is owed."""

    state: State
    attempts: int
    due_at: datetime | None
    reason: str | None
    last_status: int | None
    last_attempt_at: datetime | None
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """An endpoint that a message is or was owed to, as far as a page shows it."""

    id: str
    uid: str | None
    url: str
    description: str
    version: int
    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    throttle_rate: int | None
    metadata: Mapping[str, str]
    state: EndpointState
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which deliveries of a page are meant; None is all."""

    messages: message.Filter
    states: frozenset[State] | None = None
    attempted: bool | None = None


async def of_endpoint(
    link: Link, app_id: str, endpoint_id: str, span: Span, wanted: Filter, *, with_payload: bool
) -> list[tuple[Standing, Message]]:
    """Give the messages owed to an endpoint, now or once, in the direction of the scan."""
    given = (
        app_id,
        endpoint_id,
        span.low,
        span.high,
        span.limit,
        wanted.messages.event_types,
        wanted.messages.channel,
        wanted.messages.tag,
        with_payload,
    )
    if wanted.states == _DEAD:
        rows = await link.fetch(_SQL[f"dead_{span.way}"], *given)
    else:
        states = None if wanted.states is None else sorted(wanted.states)
        rows = await link.fetch(_SQL[f"endpoint_{span.way}"], *given, states, wanted.attempted)
    return [(_standing(row), message.noun(row)) for row in rows]


async def of_message(
    link: Link, app_id: str, message_id: str, span: Span
) -> list[tuple[Standing, Destination]]:
    """Give the endpoints that a message is owed to, now or once, in the direction of the scan."""
    rows = await link.fetch(
        _SQL[f"message_{span.way}"], app_id, message_id, span.low, span.high, span.limit
    )
    return [(_standing(row), _destination(row)) for row in rows]


async def ended(link: Link, app_id: str, message_id: str, endpoint_id: str) -> str | None:
    """Say why a delivery is not owed any more; None if it is, or is not there yet."""
    why: str | None = await link.fetchval(_SQL["ended"], app_id, message_id, endpoint_id)
    return why


async def lock(link: Link, app_id: str, message_id: str, endpoint_id: str) -> State | None:
    """Hold a delivery until the transaction ends, and say where it stands."""
    state = await link.fetchval(_SQL["lock"], app_id, message_id, endpoint_id)
    return None if state is None else State(state)


async def resend(
    link: Link, app_id: str, message_id: str, endpoint_id: str, *, shard: int, at: datetime
) -> None:
    """Owe a message to an endpoint now, by hand. What had ended starts a new run."""
    day = days.day_of(message_id)
    await link.execute(_SQL["resend"], app_id, message_id, endpoint_id, shard, at, day)


async def cancel(link: Link, app_id: str, message_id: str) -> list[str]:
    """Call off what is owed of a message, by request; give the endpoints."""
    rows = await link.fetch(_SQL["cancel"], app_id, message_id)
    return [row["endpoint_id"] for row in rows]


async def owed(link: Link) -> tuple[int, datetime | None]:
    """Say how many deliveries are owed, and since when the oldest that could go is due.

    Costs the more, the more is owed.
    """
    row = await link.fetchrow(_SQL["owed"])
    return (row["owed"], row["due_at"]) if row is not None else (0, None)


def is_owed(state: State | None) -> bool:
    """Tell whether a delivery is still to be made."""
    return state in OWED


def _standing(row: "asyncpg.Record") -> Standing:
    return Standing(
        state=State(row["state"]),
        attempts=row["attempts"],
        due_at=row["due_at"],
        reason=row["reason"],
        last_status=row["last_status"],
        last_attempt_at=row["last_attempt_at"],
        delivered_at=row["delivered_at"],
    )


def _destination(row: "asyncpg.Record") -> Destination:
    return Destination(
        id=row["id"],
        uid=row["uid"],
        url=row["url"],
        description=row["description"],
        version=row["version"],
        event_types=_tuple(row["event_types"]),
        channels=_tuple(row["channels"]),
        throttle_rate=row["throttle_rate"],
        metadata=row["metadata"],
        state=EndpointState(row["endpoint_state"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        deleted_at=row["deleted_at"],
    )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
