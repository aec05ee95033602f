"""What can end an attempt without an answer, and how far it got. Durations are seconds.

A fault is expected: `attempt.py` turns it into an outcome. Its `detail` is shown to the endpoint's
owner, so it names what failed and never an address, a header or a body.
"""

from typing import Literal, NamedTuple

import httpx

FaultKind = Literal[
    "dns",  # the name has no address, or the resolver did not say
    "blocked",  # the operator does not allow the address
    "connect_refused",  # nobody listens
    "connect",  # no way to the address
    "proxy",  # the egress proxy failed; it says nothing about the endpoint
    "tls",  # the handshake failed; `detail` names the check
    "oauth",  # there is no access token for the endpoint
    "internal",  # our side
    "reset",  # the peer broke the connection
    "no_response",  # the peer closed it without a byte of an answer
    "timeout",  # the attempt's one deadline passed
    "protocol",  # what came back is not an HTTP/1.1 answer
    "too_large",  # the answer's head is larger than we read
    "transformation",  # the endpoint's own code failed, or gave back what cannot be sent
]


class Phases(NamedTuple):
    """How long each part of an attempt took; None where it did not come to that.

    A named tuple, not a dataclass: one is made per attempt, and it costs a third.
    """

    dns_s: float | None = None
    connect_s: float | None = None  # None on a reused connection, like `tls_s`
    tls_s: float | None = None
    first_byte_s: float | None = None  # from the request's last byte handed over
    body_s: float | None = None  # from the first byte to the last


class DeliveryFault(httpx.TransportError):
    """An attempt ended without an answer."""

    def __init__(self, kind: FaultKind, detail: str) -> None:
        """Carry the class and a text that may be shown; the transport adds the rest."""
        super().__init__(f"{kind}: {detail}")
        self.kind = kind
        self.detail = detail
        self.phases = Phases()
        self.retry_after_s: float | None = None  # set where nothing is to be gained before
        self.address: str | None = None


class Blocked(DeliveryFault):
    """An address was refused; `reason` is its class, for the operator's eyes only."""

    def __init__(self, reason: str) -> None:
        """Keep the public text the same whatever stood behind the name."""
        super().__init__("blocked", "address not allowed")
        self.reason = reason
