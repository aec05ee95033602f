"""API keys: `hk_` + 43 base62 characters of chance + 6 of checksum, for secret scanners.

Only the SHA-256 of a key is stored. No dot stands in a key: Svix's SDKs read a region behind one.
"""

import hashlib
import os
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from schema import ids

PREFIX: Final = "hk_"
_CHANCE_CHARACTERS: Final = 43
_CHECK_CHARACTERS: Final = 6
_HINT_CHARACTERS: Final = 4
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class KeyKind(StrEnum):
    """What a key may act on. Values are stored."""

    OPERATOR = "operator"
    APP = "app"
    PORTAL = "portal"
    INTEGRATION = "integration"
    POLLER = "poller"
    GROUP_ADMIN = "group-admin"
    AUTO_CONFIG = "auto-config"


class Capability(StrEnum):
    """What the holder of a portal's key may do. Values are stored, and are Svix's words."""

    VIEW_BASE = "ViewBase"
    VIEW_ENDPOINT_SECRET = "ViewEndpointSecret"  # noqa: S105 a word
    MANAGE_ENDPOINT_SECRET = "ManageEndpointSecret"  # noqa: S105 a word
    MANAGE_TRANSFORMATIONS = "ManageTransformations"
    CREATE_ATTEMPTS = "CreateAttempts"
    MANAGE_ENDPOINT = "ManageEndpoint"


# What else allows the same; what is not listed is allowed by itself alone.
_ALSO: Final[Mapping[Capability, frozenset[Capability]]] = {
    Capability.VIEW_ENDPOINT_SECRET: frozenset(
        {Capability.MANAGE_ENDPOINT_SECRET, Capability.MANAGE_ENDPOINT}
    ),
    Capability.MANAGE_ENDPOINT_SECRET: frozenset({Capability.MANAGE_ENDPOINT}),
}


def allows(held: Collection[str] | None, needed: Capability) -> bool:
    """Tell whether what a key holds is enough for what is needed; None is everything."""
    if held is None or needed in held:
        return True
    return not _ALSO.get(needed, frozenset()).isdisjoint(held)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its text; `hint` is the last four characters.

    Attributes:
        capabilities: What a portal's key may do within its app; None is everything.
        feature_flags: Which flagged event types are there for a holder that is no operator.
        integration_id: Whose key it is, if an integration's.
        poller_id: What it reads, if it is a poller's.
        endpoint_id: What it configures, if it is one that configures an endpoint.
    """

    id: str
    environment_id: str
    app_id: str | None
    kind: KeyKind
    name: str
    hint: str
    scopes: tuple[str, ...]
    session_id: str | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    capabilities: tuple[str, ...] | None = None
    feature_flags: tuple[str, ...] = ()
    integration_id: str | None = None
    poller_id: str | None = None
    endpoint_id: str | None = None


def issue(
    *,
    environment_id: str,
    kind: KeyKind,
    at: datetime,
    app_id: str | None = None,
    name: str = "",
    scopes: tuple[str, ...] = (),
    expires_at: datetime | None = None,
    session_id: str | None = None,
    capabilities: tuple[str, ...] | None = None,
    feature_flags: tuple[str, ...] = (),
    integration_id: str | None = None,
    poller_id: str | None = None,
    endpoint_id: str | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; gives it and its text, which is nowhere else."""
    text = mint()
    key = ApiKey(
        id=ids.new_id(ids.API_KEY, at),
        environment_id=environment_id,
        app_id=app_id,
        kind=kind,
        name=name,
        hint=hint_of(text),
        scopes=scopes,
        session_id=session_id,
        created_at=at,
        expires_at=expires_at,
        revoked_at=None,
        last_used_at=None,
        capabilities=capabilities,
        feature_flags=feature_flags,
        integration_id=integration_id,
        poller_id=poller_id,
        endpoint_id=endpoint_id,
    )
    return key, text


def hint_of(text: str) -> str:
    """Give what is shown of a key's text."""
    return text[-_HINT_CHARACTERS:]


def mint() -> str:
    """Make the text of a new key."""
    chance = _base62(int.from_bytes(os.urandom(32), "big"), _CHANCE_CHARACTERS)
    return f"{PREFIX}{chance}{_check(chance)}"


def well_formed(text: str) -> bool:
    """Tell whether a text can be a key of ours: form and checksum, before any look-up."""
    body = text.removeprefix(PREFIX)
    if not text.startswith(PREFIX) or len(body) != _CHANCE_CHARACTERS + _CHECK_CHARACTERS:
        return False
    return body.isascii() and _check(body[:_CHANCE_CHARACTERS]) == body[_CHANCE_CHARACTERS:]


def hash_of(text: str) -> bytes:
    """Give what is stored of a key."""
    return hashlib.sha256(text.encode()).digest()


def _check(chance: str) -> str:
    return _base62(zlib.crc32(chance.encode()), _CHECK_CHARACTERS)


def _base62(value: int, width: int) -> str:
    letters = []
    for _ in range(width):
        value, rest = divmod(value, 62)
        letters.append(_ALPHABET[rest])
    return "".join(reversed(letters))
