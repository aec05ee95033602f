"""Integrations: somebody else's service that acts for an app, with a key of its own."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Integration:
    """One integration of an app; `sealed` is the text of its key, closed by the vault."""

    app_id: str
    id: str
    name: str
    feature_flags: tuple[str, ...]
    sealed: bytes
    created_at: datetime
    updated_at: datetime
