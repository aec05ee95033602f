"""What an attempt hands to a transport, and what it gets back. Durations are seconds.

Named tuples, not dataclasses: one of each is made per attempt.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from dispatcher.fault import Phases
from dispatcher.tls import Tls
from schema.address import EndpointUrl


class Post(NamedTuple):
    """One request.

    Attributes:
        url: Where to.
        addresses: What may be dialled, as the guard gave it.
        deadline_s: For everything, from now.
        head: What `request_head` made for this endpoint, kept.
        body: As it is.
        lines: The headers of this attempt alone, as `header_lines` writes them.
        dns_s: What resolving took; handed through to the phases.
        on_sending: Called when an open connection is given the request.
        tls: What is particular about TLS; connections are shared only where that is the same.
    """

    url: EndpointUrl
    addresses: tuple[str, ...]
    deadline_s: float
    head: bytes
    body: bytes
    lines: bytes = b""
    dns_s: float | None = None
    on_sending: Callable[[], None] | None = None
    tls: Tls | None = None


class Reply(NamedTuple):
    """What a receiver answered, and how it was reached.

    Attributes:
        headers: As they came: neither case nor order is changed.
        body: As it came, never decoded.
        truncated: More was sent or promised than `body` holds.
        address: Where the receiver was reached.
        reused: Whether the connection had served before.
        tls: The version of TLS, or None.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    truncated: bool
    phases: Phases
    address: str
    reused: bool
    tls: str | None


class Posts(Protocol):
    """Sends requests: the dispatcher's `Transport`."""

    async def post(self, post: Post) -> Reply:
        """Send one and return its answer.

        Raises:
            DeliveryFault: There is no answer.
        """
        ...
