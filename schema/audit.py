"""The audit trail: who changed, revealed, redelivered or discarded what."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One thing that was done.

    Attributes:
        key_id: Of the key it was done with; None for the installation's own command line.
        action: Noun and verb, such as `endpoint.update`.
        object: The id of what it was done to.
        detail: What else there is to know; never a secret, a header's value or a payload.
    """

    environment_id: str
    id: str
    key_id: str | None
    action: str
    object: str
    detail: Mapping[str, Any]
    at: datetime
