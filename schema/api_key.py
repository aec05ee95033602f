"""API keys: `hk_` + 43 base62 characters of chance + 6 of checksum, for secret scanners.

Only the SHA-256 of a key is stored. No dot stands in a key: Svix's SDKs read a region behind one.
"""

import hashlib
import os
import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

PREFIX: Final = "hk_"
ALL_SCOPES: Final = "*"  # the installation's operator: every environment
_CHANCE_CHARACTERS: Final = 43
_CHECK_CHARACTERS: Final = 6
_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class KeyKind(StrEnum):
    """What a key may act on. Values are stored."""

    OPERATOR = "operator"
    APP = "app"
    PORTAL = "portal"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key without its text; `hint` is the last four characters."""

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
