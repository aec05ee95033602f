"""Environments and apps: who the tenants are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from schema.retry import RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """An isolated world: it owns apps, event types and keys."""

    id: str
    name: str
    kind: str  # "development" or "production"
    is_default: bool
    retry_policy: RetryPolicy | None
    created_at: datetime
    updated_at: datetime
    settings: Mapping[str, Any] = field(default_factory=dict)  # see `environment_settings`


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """A tenant, or the operational app of an environment.

    `throttle_rate`: deliveries per second, all endpoints together.
    """

    environment_id: str
    id: str
    uid: str | None
    name: str
    throttle_rate: int | None
    retry_policy: RetryPolicy | None
    metadata: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    operational: bool = False
