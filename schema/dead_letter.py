"""Dead letters: deliveries that were given up, parked whole; and events that were rejected."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from schema.delivery import Reason


class LetterState(StrEnum):
    """Where a dead letter stands. Values are stored."""

    PARKED = "parked"
    REDELIVERING = "redelivering"
    REDELIVERED = "redelivered"
    DISCARDED = "discarded"


LETTER_MOVES: Final[dict[LetterState, frozenset[LetterState]]] = {
    LetterState.PARKED: frozenset({LetterState.REDELIVERING, LetterState.DISCARDED}),
    LetterState.REDELIVERING: frozenset({LetterState.REDELIVERED, LetterState.PARKED}),
    LetterState.REDELIVERED: frozenset({LetterState.REDELIVERING, LetterState.PARKED}),
    LetterState.DISCARDED: frozenset({LetterState.REDELIVERING, LetterState.PARKED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A given-up delivery with its payload and what became of its last attempt.

    `fingerprint` names the kind of failure: equal for letters that fail alike.
    """

    app_id: str
    id: str
    message_id: str
    endpoint_id: str
    state: LetterState
    reason: Reason
    event_type: str
    event_id: str | None
    channels: tuple[str, ...] | None
    payload: bytes | None
    content_type: str
    url: str
    status: int | None
    fault: str | None
    detail: str
    response: bytes | None
    fingerprint: str
    attempts: int
    message_at: datetime
    first_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_attempt_id: str | None
    parked_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedEvent:
    """An event that could not become a message."""

    id: str
    environment_id: str | None
    app: str
    subject: str
    headers: Mapping[str, Any]
    body: bytes
    reason: str
    detail: str
    sequence: int
    created_at: datetime
