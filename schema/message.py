"""Messages: accepted events, stored with their bytes as published."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An accepted event. `payload` is None once expunged.

    Attributes:
        deliver_at: When its first attempt is due; None is at once.
    """

    app_id: str
    id: str
    event_type: str
    event_id: str | None
    channels: tuple[str, ...] | None
    tags: tuple[str, ...] | None
    payload: bytes | None
    content_type: str
    created_at: datetime
    deliver_at: datetime | None = None
