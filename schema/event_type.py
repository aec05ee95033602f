"""Event types: the names that an environment's messages may have, and what is known of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from schema.retry import RetryPolicy


class SchemaMode(StrEnum):
    """What becomes of payloads that are not as the schema says. Values are stored."""

    OFF = "off"
    WARN = "warn"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One event type. A message may have a type that is not registered; a filter may not.

    Attributes:
        schemas: JSON Schema (draft 7) by version; None is none known.
        schema_mode: Whether payloads are held to one of them.
        schema_version: To which; None is the highest.
        archived: Not offered any more, not to be used in a filter anew, and held to nothing.
        retry_policy: When messages of it are tried again; None is as it is for all of the app.
        feature_flags: Shown only to operators and to whoever has one of these; None is to all.
    """

    environment_id: str
    name: str
    description: str
    schemas: Mapping[str, Any] | None
    schema_mode: SchemaMode = SchemaMode.OFF
    schema_version: str | None = None
    retry_policy: RetryPolicy | None = None
    archived: bool
    deprecated: bool
    group_name: str | None
    feature_flags: tuple[str, ...] | None
    created_at: datetime
    updated_at: datetime


def counting_version(schemas: Mapping[str, Any] | None, named: str | None) -> str | None:
    """Say which version payloads are held to: the named one, or the highest; None: there is none.

    Versions are compared as numbers where they are numbers; others are lower than those.
    """
    if not schemas:
        return None
    if named is not None:
        return named if named in schemas else None
    return max(schemas, key=_rank)


def _rank(version: str) -> tuple[int, str]:
    plain = version.isascii() and version.isdigit()
    return (int(version), "") if plain else (-1, version)
