"""What a Svix server has, as Hookline's API takes it; fields of both versions are read (pure).

Apps and endpoints go by their uids. One without gets a uid that is made of Svix's id, so that a
later run finds it again.
"""

from collections.abc import Mapping
from typing import Any, Final

Thing = Mapping[str, Any]
_NAMESAKE: Final = "svix-"
_PUBLIC: Final = "whpk_"


def uid_of(thing: Thing) -> str:
    """Give what an app or endpoint goes by in Hookline."""
    return str(thing.get("uid") or f"{_NAMESAKE}{thing['id']}")


def event_type(thing: Thing) -> dict[str, Any]:
    """Give an event type as Hookline takes it."""
    flags = thing.get("featureFlags") or (
        [thing["featureFlag"]] if thing.get("featureFlag") else None
    )
    return {
        "description": thing.get("description") or "",
        "schemas": thing.get("schemas"),
        "archived": bool(thing.get("archived")),
        "deprecated": bool(thing.get("deprecated")),
        "groupName": thing.get("groupName"),
        "featureFlags": flags,
    }


def app(thing: Thing) -> dict[str, Any]:
    """Give an app as Hookline takes it."""
    return {
        "uid": uid_of(thing),
        "name": thing["name"],
        "throttleRate": _rate(thing),
        "metadata": thing.get("metadata") or {},
    }


def endpoint(thing: Thing) -> dict[str, Any]:
    """Give an endpoint as Hookline takes it, without secret and headers."""
    return {
        "uid": uid_of(thing),
        "url": thing["url"],
        "description": thing.get("description") or "",
        "eventTypes": _sorted(thing.get("eventTypes") or thing.get("filterTypes")),
        "channels": _sorted(thing.get("channels")),
        "throttleRate": _rate(thing),
        "disabled": bool(thing.get("disabled")),
        "metadata": thing.get("metadata") or {},
    }


def is_public(secret: str) -> bool:
    """Tell whether a secret is one that only verifies: the key that signs is not shown."""
    return secret.startswith(_PUBLIC)


def _rate(thing: Thing) -> int | None:
    rate: int | None = thing.get("throttleRate") or thing.get("rateLimit")
    return rate


def _sorted(names: list[str] | None) -> list[str] | None:
    return sorted(names) if names else None
