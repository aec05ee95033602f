"""Dead letters: deliveries that were given up, parked whole; their groups; and rejected events.

States and their moves are kept here once; the CHECKs in the migrations, the diagrams in the docs
and the code are compared to them by tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from schema.delivery import Fault, Reason


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


class ErrorClass(StrEnum):
    """Of what kind a failure was: the reason where that says it, the fault, or the status's class.

    The database computes it of the same three (`dead_letter.error_class`).
    """

    DNS = "dns"
    BLOCKED = "blocked"
    CONNECT_REFUSED = "connect_refused"
    CONNECT = "connect"
    RESET = "reset"
    NO_RESPONSE = "no_response"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    OAUTH = "oauth"
    TRANSFORMATION = "transformation"
    INTERNAL = "internal"
    PROXY = "proxy"
    HTTP_3XX = "http_3xx"
    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    HTTP_OTHER = "http_other"
    GONE = "gone"
    ABORTED = "aborted"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    EXPIRED = "expired"


_BY_STATUS: Final = {3: ErrorClass.HTTP_3XX, 4: ErrorClass.HTTP_4XX, 5: ErrorClass.HTTP_5XX}
_BY_REASON: Final = {
    Reason.GONE: ErrorClass.GONE,
    Reason.ABORTED: ErrorClass.ABORTED,
    Reason.ENDPOINT_DISABLED: ErrorClass.ENDPOINT_DISABLED,
    Reason.ENDPOINT_DELETED: ErrorClass.ENDPOINT_DELETED,
    Reason.EXPIRED: ErrorClass.EXPIRED,
}


def class_of(reason: Reason | None, status: int | None, fault: Fault | None) -> ErrorClass:
    """Say of what kind the failure of a given-up delivery was."""
    if reason in _BY_REASON:
        return _BY_REASON[reason]
    if fault is not None:
        return ErrorClass(fault)
    return _BY_STATUS.get((status or 0) // 100, ErrorClass.HTTP_OTHER)


class GroupState(StrEnum):
    """Where a group of letters that failed alike stands. Values are stored."""

    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    SNOOZED = "snoozed"
    RESOLVED = "resolved"


# Any but a resolved one is resolved by itself once none of its letters is parked or on its way; a
# new letter opens a resolved one, or has it snoozed if it was until a time that is to come.
GROUP_MOVES: Final[dict[GroupState, frozenset[GroupState]]] = {
    GroupState.OPEN: frozenset({GroupState.ACKNOWLEDGED, GroupState.SNOOZED, GroupState.RESOLVED}),
    GroupState.ACKNOWLEDGED: frozenset({GroupState.OPEN, GroupState.SNOOZED, GroupState.RESOLVED}),
    GroupState.SNOOZED: frozenset({GroupState.OPEN, GroupState.ACKNOWLEDGED, GroupState.RESOLVED}),
    GroupState.RESOLVED: frozenset({GroupState.OPEN, GroupState.SNOOZED}),
}


class RejectedState(StrEnum):
    """Where a rejected event stands. Values are stored."""

    REJECTED = "rejected"
    RESUBMITTED = "resubmitted"
    DISCARDED = "discarded"


REJECTED_MOVES: Final[dict[RejectedState, frozenset[RejectedState]]] = {
    RejectedState.REJECTED: frozenset({RejectedState.RESUBMITTED, RejectedState.DISCARDED}),
    RejectedState.DISCARDED: frozenset({RejectedState.RESUBMITTED}),
    RejectedState.RESUBMITTED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A given-up delivery with its payload and what became of its last attempt.

    Attributes:
        environment_id: None for a letter of an app that was gone when it got one.
        payload: None once expunged, and in lists; then `payload_bytes` alone tells its size.
        headers: Those added to the endpoint's requests when it was parked, sealed as the
            endpoint's are; None if there were none or they are not read.
        response_headers: Those of the answer, as pairs; None in lists.
        fingerprint: Names the kind of failure: equal for letters that fail alike.
        group_id: Of those that failed alike at this endpoint.
    """

    environment_id: str | None
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
    payload_bytes: int | None
    content_type: str
    headers: bytes | None
    url: str
    status: int | None
    fault: str | None
    detail: str
    response: bytes | None
    response_headers: Sequence[Any] | None
    error_class: ErrorClass
    fingerprint: str
    group_id: str
    attempts: int
    message_at: datetime
    first_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_attempt_id: str | None
    parked_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterGroup:
    """Letters that failed alike at an endpoint.

    Attributes:
        letter_id: The newest; `detail` and `response` are its own, if it is still there.
        parked: How many are parked now.
        redelivering: How many are on their way now.
        total: How often a letter was parked in it.
        state_by: The key that set the state; None if nobody did.
        trend: How many were parked in each of the last hours, the present one last.
    """

    environment_id: str | None
    app_id: str
    id: str
    endpoint_id: str
    fingerprint: str
    error_class: ErrorClass
    status: int | None
    letter_id: str
    detail: str
    response: bytes | None
    parked: int
    redelivering: int
    total: int
    first_seen_at: datetime
    last_seen_at: datetime
    state: GroupState
    state_at: datetime
    state_by: str | None
    snoozed_until: datetime | None
    trend: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedEvent:
    """An event that could not become a message.

    Attributes:
        state_by: The key that discarded or resubmitted it.
        app_id: The app that it was resubmitted to.
        message_id: What it became, or is to become since the first try.
    """

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
    state: RejectedState = RejectedState.REJECTED
    state_at: datetime | None = None
    state_by: str | None = None
    app_id: str | None = None
    message_id: str | None = None
