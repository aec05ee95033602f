"""The secrets that endpoints are signed with: their text forms and their keys.

Symmetric: `whsec_` + base64 of 24 to 75 random bytes; without the prefix it is understood too.
Asymmetric: `whsk_` + base64 of the ed25519 secret key followed by its public key (32 bytes each),
shown to receivers as `whpk_` + base64 of the public key alone.
Source: Standard Webhooks 1.0.0, "Signature scheme"; 75 bytes is the limit Svix documents, where
the standard says 64. Base64 is the standard alphabet, padded and canonical, so that a secret has
one text only.
"""

import binascii
import secrets
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from signer.errors import SecretFault

HMAC_KEY_MIN_BYTES = 24
HMAC_KEY_MAX_BYTES = 75
_GENERATED_KEY_BYTES = 32
_ED25519_HALF_BYTES = 32

_HMAC_PREFIX = "whsec_"
_PRIVATE_PREFIX = "whsk_"
_PUBLIC_PREFIX = "whpk_"

_IS_PUBLIC = "this is a public key (whpk_), which cannot sign: give the secret key (whsk_)"
_UNKNOWN_PREFIX = "unknown prefix: a secret begins with whsec_ (symmetric) or whsk_ (ed25519)"
_NOT_BASE64 = "what follows the prefix is not standard, padded base64"
_HALVES_DIFFER = "the public half of this ed25519 secret does not belong to its secret half"


class SecretKind(StrEnum):
    """How a secret signs. The values are stored."""

    HMAC256 = "hmac256"
    ED25519 = "ed25519"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecret:
    """One key of one endpoint. `repr` and `str` do not show it.

    The constructor takes what a store has kept; text from outside goes through `parse`.

    Attributes:
        key: The raw bytes: the HMAC key, or the ed25519 secret key followed by its public key.
    """

    kind: SecretKind
    key: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The whole secret as text. `parse` understands it."""
        prefix = _HMAC_PREFIX if self.kind is SecretKind.HMAC256 else _PRIVATE_PREFIX
        return prefix + b64encode(self.key).decode()

    @property
    def public_text(self) -> str:
        """What the receiver is shown to verify with: a symmetric secret, or a public key."""
        if self.kind is SecretKind.HMAC256:
            return self.text
        return _PUBLIC_PREFIX + b64encode(self.key[_ED25519_HALF_BYTES:]).decode()

    def private_key(self) -> Ed25519PrivateKey:
        """Load the ed25519 key; only for secrets of that kind."""
        return Ed25519PrivateKey.from_private_bytes(self.key[:_ED25519_HALF_BYTES])


def parse(text: str) -> SigningSecret:
    """Understand a secret's text.

    Raises:
        SecretFault: A wrong prefix, length or encoding; the message says which.
    """
    if text.startswith(_PUBLIC_PREFIX):
        raise SecretFault(_IS_PUBLIC)
    if text.startswith(_PRIVATE_PREFIX):
        return _asymmetric(_decode(text.removeprefix(_PRIVATE_PREFIX)))
    return _symmetric(_decode(text.removeprefix(_HMAC_PREFIX)))


def generate(kind: SecretKind = SecretKind.HMAC256) -> SigningSecret:
    """Make a new secret from the system's randomness."""
    if kind is SecretKind.HMAC256:
        return SigningSecret(kind=kind, key=secrets.token_bytes(_GENERATED_KEY_BYTES))
    half = secrets.token_bytes(_ED25519_HALF_BYTES)
    return SigningSecret(kind=kind, key=half + _public_half(half))


def _decode(encoded: str) -> bytes:
    if "_" in encoded:  # not in the alphabet, so what stands before it was meant as a prefix
        raise SecretFault(_UNKNOWN_PREFIX)
    try:
        key = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise SecretFault(_NOT_BASE64) from None
    if b64encode(key).decode() != encoded:  # set bits behind the last byte
        raise SecretFault(_NOT_BASE64)
    return key


def _symmetric(key: bytes) -> SigningSecret:
    if not HMAC_KEY_MIN_BYTES <= len(key) <= HMAC_KEY_MAX_BYTES:
        allowed = f"{HMAC_KEY_MIN_BYTES} to {HMAC_KEY_MAX_BYTES}"
        problem = f"a symmetric secret has {allowed} bytes, this one has {len(key)}"
        raise SecretFault(problem)
    return SigningSecret(kind=SecretKind.HMAC256, key=key)


def _asymmetric(key: bytes) -> SigningSecret:
    if len(key) != 2 * _ED25519_HALF_BYTES:
        problem = f"an ed25519 secret has 64 bytes (secret, then public key), not {len(key)}"
        raise SecretFault(problem)
    if _public_half(key[:_ED25519_HALF_BYTES]) != key[_ED25519_HALF_BYTES:]:
        raise SecretFault(_HALVES_DIFFER)
    return SigningSecret(kind=SecretKind.ED25519, key=key)


def _public_half(secret_half: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(secret_half).public_key().public_bytes_raw()
