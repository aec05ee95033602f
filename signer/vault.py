"""Secrets at rest: AES-256-GCM under a keyring that is kept outside the database.

A sealed value is: version (1 byte), length of the key id (1 byte), key id (ASCII), nonce
(12 random bytes), ciphertext with its 16-byte tag. Everything before the nonce and the caller's
context (which row this is) are authenticated, so a value opens only where it was sealed for.

To change keys: put a new one at the head of the keyring, reseal whatever `needs_reseal`, then drop
the old one. Random nonces are safe for 2**32 values under one key (NIST SP 800-38D, 8.3).
"""

import binascii
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from signer.errors import KeyringFault, VaultFault

_VERSION = 1
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_LEAD_BYTES = 2  # version, length of the key id
_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,24}", re.ASCII)

_NOT_SEALED = (
    "this is not a sealed value, or it was cut short or sealed by a later release: "
    "restore the row from a backup, or upgrade"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys that values at rest are sealed under. `repr` names them and shows none.

    Attributes:
        keys: 32 bytes for each key id.
        current: The id of the key that seals; the others only open.
    """

    keys: Mapping[str, bytes] = field(repr=False)
    current: str

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a key file or setting: `id:base64` of 32 bytes, the first one is current.

        Entries stand on lines of their own or between commas; empty lines and lines that begin
        with # are skipped.

        Raises:
            KeyringFault: Lists every entry that cannot be used, by its position.
        """
        lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
        entries = [part.strip() for line in lines for part in line.split(",") if part.strip()]
        keys: dict[str, bytes] = {}
        faults: list[str] = []
        for position, entry in enumerate(entries, start=1):
            # Without a colon all of it may be a key, so none of it may be taken for an id.
            key_id, _, encoded = entry.rpartition(":")
            key_id, encoded = key_id.strip(), encoded.strip()
            key = _decode_key(encoded)
            fault = _fault(key_id, key, known=keys)
            if fault is None and key is not None:
                keys[key_id] = key
            else:
                faults.append(f"entry {position}: {fault}")
        if not entries:
            faults.append("it holds no key: write one entry as id:base64 of 32 random bytes")
        if faults:
            raise KeyringFault(faults)
        return cls(keys=MappingProxyType(keys), current=next(iter(keys)))


def generate_keyring_text() -> str:
    """Make one entry for a keyring: a new key under a new id, with a line end."""
    key_id = f"k{secrets.token_hex(4)}"
    return f"{key_id}:{b64encode(secrets.token_bytes(_KEY_BYTES)).decode()}\n"


class Vault:
    """Seals and opens small values. Safe to share between threads."""

    __slots__ = ("_ciphers", "_current")

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """Set up the keys.

        Args:
            keys: 32 bytes for each key id (1 to 24 letters, digits, "_", "-").
            current: The id of the key that seals.

        Raises:
            KeyringFault: A key id or a key is not of that form, or `current` is not among them.
        """
        faults = [
            f"key {position}: {fault}"
            for position, (key_id, key) in enumerate(keys.items(), start=1)
            if (fault := _fault(key_id, key, known={})) is not None
        ]
        if current not in keys:
            faults.append("the current key is not among its keys")
        if faults:
            raise KeyringFault(faults)
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self._current = current

    def seal(self, plaintext: bytes, *, context: bytes) -> bytes:
        """Encrypt under the current key.

        Args:
            plaintext: What to keep.
            context: Names the row that the value belongs to, tenant included, without ambiguity.
                It is not stored: `open` must be given the same.
        """
        key_id = self._current.encode()
        head = bytes((_VERSION, len(key_id))) + key_id
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._ciphers[self._current]
        return head + nonce + cipher.encrypt(nonce, plaintext, head + context)

    def open(self, sealed: bytes, *, context: bytes) -> bytes:
        """Decrypt what `seal` made for the same context.

        Raises:
            VaultFault: The key is not in the keyring; or the value was changed, belongs to
                another row, or is no sealed value at all.
        """
        head, key_id = _split_head(sealed)
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            problem = (
                f"sealed under key {key_id!r}, which is not in the keyring: "
                "add that key to the keyring again, behind the current one"
            )
            raise VaultFault(problem, key_id=key_id)
        start = len(head) + _NONCE_BYTES
        try:
            return cipher.decrypt(sealed[len(head) : start], sealed[start:], head + context)
        except InvalidTag:
            problem = (
                f"does not open under key {key_id!r}: the value was changed or belongs to another "
                "row (restore the row from a backup, or set the secret anew), or the keyring now "
                "holds another key under this id (put the former one back)"
            )
            raise VaultFault(problem, key_id=key_id) from None

    def needs_reseal(self, sealed: bytes) -> bool:
        """Say whether a value is sealed under another key than the current one.

        Raises:
            VaultFault: It is no sealed value at all.
        """
        _, key_id = _split_head(sealed)
        return key_id != self._current


def _split_head(sealed: bytes) -> tuple[bytes, str]:
    """Return what stands before the nonce, and the key id in it."""
    if len(sealed) < _LEAD_BYTES or sealed[0] != _VERSION:
        raise VaultFault(_NOT_SEALED)
    end = _LEAD_BYTES + sealed[1]
    key_id = sealed[_LEAD_BYTES:end].decode("ascii", errors="replace")
    if len(sealed) < end + _NONCE_BYTES + _TAG_BYTES or not _KEY_ID.fullmatch(key_id):
        raise VaultFault(_NOT_SEALED)
    return sealed[:end], key_id


def _decode_key(encoded: str) -> bytes | None:
    try:
        return b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None


def _fault(key_id: str, key: bytes | None, *, known: Mapping[str, bytes]) -> str | None:
    """Say what is wrong with one entry; shows an id only once it looks like one."""
    if not _KEY_ID.fullmatch(key_id):
        return 'it must begin with an id (1 to 24 letters, digits, "_", "-") and a colon'
    if key_id in known:
        return f"the id {key_id!r} is there twice"
    if key is None:
        return f"the key of {key_id!r} is not standard, padded base64"
    if len(key) != _KEY_BYTES:
        return f"the key of {key_id!r} has {len(key)} bytes, not {_KEY_BYTES}"
    return None
