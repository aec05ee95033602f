"""Endpoints: where a tenant's messages go, which ones, and in what condition the place is."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from schema.retry import RetryPolicy

# The headers that every request has, before the endpoint's own.
SENT_ALWAYS: Final = (("User-Agent", "Hookline/0.1"), ("Accept", "*/*"))

# What stands for the URL of an endpoint that awaits its configuration. No name ends like that.
AWAITING_URL: Final = "https://awaiting-configuration.invalid/"
AWAITING: Final = "awaiting_configuration"  # why it is disabled


class EndpointState(StrEnum):
    """Whether deliveries go out: active; paused (held); disabled (parked). Values are stored."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint, without its secrets.

    Attributes:
        event_types: Those it wants; None is all.
        channels: A message must share one, if set.
        headers: Sealed JSON object of names to values; None is none.
        throttle_rate: Deliveries per second.
    """

    app_id: str
    id: str
    uid: str | None
    url: str
    description: str
    version: int
    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    headers: bytes | None
    throttle_rate: int | None
    retry_policy: RetryPolicy | None
    ordered: bool
    metadata: Mapping[str, str]
    state: EndpointState
    state_reason: str
    state_at: datetime
    created_at: datetime
    updated_at: datetime

    @property
    def awaits(self) -> bool:
        """Tell whether nobody has said yet where it sends."""
        return self.url == AWAITING_URL


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSecret:
    """A signing secret at rest; the one without `expires_at` is current."""

    id: str
    kind: str
    sealed: bytes
    created_at: datetime
    expires_at: datetime | None


def secret_context(app_id: str, endpoint_id: str, of: str = "") -> bytes:
    """Give what something sealed is bound to, so that it cannot be moved to another row or place.

    `of` says which it is; it is empty for signing secrets and headers.
    """
    place = f"{app_id}/{endpoint_id}"
    return (f"{place}/{of}" if of else place).encode()
