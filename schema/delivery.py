"""A delivery (one message owed to one endpoint), its states, and what an attempt comes to.

States and their moves are kept here once; the CHECK in the migrations, the diagram in the docs and
the code are compared to `MOVES` by tests. In flight is a fact of memory, not a state.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple


class State(StrEnum):
    """Where a delivery stands. Values are stored."""

    PENDING = "pending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    DEAD = "dead"
    CANCELLED = "cancelled"


MOVES: Final[dict[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.DELIVERED, State.RETRYING, State.DEAD, State.CANCELLED}),
    State.RETRYING: frozenset(
        {State.DELIVERED, State.RETRYING, State.DEAD, State.CANCELLED, State.PENDING}
    ),
    State.DEAD: frozenset({State.PENDING}),
    # A manual resend of what had ended well or was called off starts a run of its own.
    State.DELIVERED: frozenset({State.PENDING}),
    State.CANCELLED: frozenset({State.PENDING}),
}

OWED: Final = frozenset({State.PENDING, State.RETRYING})


class Trigger(IntEnum):
    """What started an attempt. Values are stored and are Svix's."""

    SCHEDULED = 0
    MANUAL = 1


class Reason(StrEnum):
    """Why a delivery is dead or cancelled. Values are stored."""

    EXHAUSTED = "exhausted"
    GONE = "gone"
    ENDPOINT_DISABLED = "endpoint_disabled"
    ENDPOINT_DELETED = "endpoint_deleted"
    ABORTED = "aborted"
    EXPIRED = "expired"
    BY_REQUEST = "by_request"
    TEST_FAILED = "test_failed"
    TRANSFORMATION = "transformation"  # the endpoint's own code called it off


class Fault(StrEnum):
    """Why an attempt got no usable HTTP answer. Values are stored."""

    DNS = "dns"
    BLOCKED = "blocked"
    CONNECT_REFUSED = "connect_refused"
    CONNECT = "connect"
    PROXY = "proxy"  # the operator's egress proxy
    RESET = "reset"
    NO_RESPONSE = "no_response"
    TLS = "tls"
    TIMEOUT = "timeout"
    PROTOCOL = "protocol"
    TOO_LARGE = "too_large"
    OAUTH = "oauth"  # the endpoint's authorization server gave no access token
    TRANSFORMATION = "transformation"  # the endpoint's code failed; `detail` says how
    INTERNAL = "internal"  # our side, such as a secret at rest that cannot be opened


def is_success(status: int) -> bool:
    """Tell whether an HTTP status says that the receiver has the message: any 2xx."""
    return 200 <= status < 300  # noqa: PLR2004 HTTP's own


class Outcome(NamedTuple):
    """What one attempt came to. Unless it was called off, one of `status` and `fault` is set.

    A named tuple because one is made per attempt.

    Attributes:
        status: The HTTP status, 100-599.
        fault: Why there was none.
        detail: One line about the fault, safe to show to the tenant.
        retry_after_s: What the receiver asked for, as seconds from the answer.
        control: The receiver's `webhook-delivery` header: "abort-message" or "disable".
        body: The first bytes of the answer, capped; `truncated` when there was more.
        phases_ms: dns, connect, tls, first byte, body; empty when nothing was dialled.
        url: Where to, if not the endpoint's own.
        cancelled: The endpoint's transformation called the delivery off; nothing was sent.
    """

    status: int | None = None
    fault: Fault | None = None
    detail: str = ""
    retry_after_s: float | None = None
    control: str | None = None
    body: bytes = b""
    truncated: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    phases_ms: tuple[float, ...] = ()
    duration_ms: int = 0
    address: str | None = None
    reused: bool = False
    tls: str | None = None
    url: str | None = None
    cancelled: bool = False

    @property
    def succeeded(self) -> bool:
        """Tell whether the receiver has the message: any 2xx."""
        return self.status is not None and is_success(self.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """Try again, not before `due_at`."""

    due_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Park:
    """Give it up into the dead-letter table; `disable` the endpoint as well if it asked for it."""

    reason: Reason
    disable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Call it off: it was to have one attempt, or nothing is to be sent.

    `disable`: why the endpoint is, if it is.
    """

    reason: Reason
    disable: Reason | None = None


Verdict = Delivered | Retry | Park | Cancel
