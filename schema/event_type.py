"""Event types: the names that an environment's messages may have, and what is known of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One event type. A message may have a type that is not registered; a filter may not.

    Attributes:
        schemas: JSON Schema (draft 7) by version; None is none known.
        archived: Not offered any more, and not to be used in a filter anew.
        feature_flags: Shown only to operators and to whoever has one of these; None is to all.
    """

    environment_id: str
    name: str
    description: str
    schemas: Mapping[str, Any] | None
    archived: bool
    deprecated: bool
    group_name: str | None
    feature_flags: tuple[str, ...] | None
    created_at: datetime
    updated_at: datetime
