"""Signatures by Standard Webhooks 1.0.0: `v1` (HMAC-SHA256) and `v1a` (ed25519).

What is signed is `<message id>.<timestamp>.<body>`: the unix second of the attempt, and the bytes
exactly as sent. The header holds one token for each live secret, separated by one space, the
current secret first; the reference verifiers raise on anything else in it.

A message id must not hold a ".": with one, a part of the id could be read as the timestamp. That
is refused where ids are made or taken in, not here on every signature. Any bytes can be signed,
but the reference verifiers read the body as UTF-8 and so never accept another encoding.
"""

import hmac
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256

from signer.errors import NoSecret
from signer.secret import SecretKind, SigningSecret

ID_HEADER = "webhook-id"
TIMESTAMP_HEADER = "webhook-timestamp"
SIGNATURE_HEADER = "webhook-signature"

_Token = Callable[[bytes, bytes], bytes]

_BLOCK_BYTES = 64  # of SHA-256
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_TIMESTAMP_MAX_DIGITS = 12


class Signer:
    """Signs for one endpoint. Build it once and keep it: keys are set up here, not per signature.

    Safe to share between threads.
    """

    __slots__ = ("_tokens",)

    def __init__(self, secrets: Sequence[SigningSecret]) -> None:
        """Set up the keys.

        Args:
            secrets: The live secrets of the endpoint, the current one first.

        Raises:
            NoSecret: There is none.
        """
        if not secrets:
            raise NoSecret
        self._tokens = tuple(_token_maker(secret) for secret in secrets)

    def sign(self, message_id: str, timestamp: int, payload: bytes) -> str:
        """Make the value of the `webhook-signature` header.

        Args:
            message_id: What `webhook-id` carries; the same on every attempt. Without a ".".
            timestamp: What `webhook-timestamp` carries: the unix second of this attempt.
            payload: The body, exactly as it will be sent.
        """
        return self.header(message_id, timestamp, payload).decode("ascii")

    def header(self, message_id: str, timestamp: int, payload: bytes) -> bytes:
        """Make the same as the bytes that go over the wire."""
        head = f"{message_id}.{timestamp}.".encode()
        if len(self._tokens) == 1:  # but for rotations
            return self._tokens[0](head, payload)
        return b" ".join([token(head, payload) for token in self._tokens])


class Check(StrEnum):
    """What came of verifying a request."""

    VERIFIED = "verified"
    HEADERS_MISSING = "headers_missing"
    TIMESTAMP_MALFORMED = "timestamp_malformed"
    TOO_OLD = "too_old"
    TOO_NEW = "too_new"
    NO_MATCH = "no_match"


def verify(
    secrets: Sequence[SigningSecret],
    headers: Mapping[str, str],
    body: bytes,
    now: float,
    tolerance_s: float = 300.0,
) -> Check:
    """Say whether a request was signed with one of these secrets, and recently.

    Made for a receiver that holds the secrets themselves, as the demo does. An ed25519 signature
    is the same each time, so both schemes are checked by signing again and comparing, in a time
    that does not depend on where two signatures differ.

    Args:
        secrets: What the receiver accepts: during a rotation, the old one too.
        headers: Of the request; the case of the names does not matter.
        body: As received, before any parsing.
        now: Unix seconds.
        tolerance_s: How far the timestamp may be from `now`, in either direction.

    Raises:
        NoSecret: There is no secret to check against.
    """
    signer = Signer(secrets)
    given = {name.lower(): value for name, value in headers.items() if value.isascii()}
    message_id, sent, signature = map(given.get, (ID_HEADER, TIMESTAMP_HEADER, SIGNATURE_HEADER))
    if not (message_id and sent and signature):
        return Check.HEADERS_MISSING
    if not sent.isdecimal() or len(sent) > _TIMESTAMP_MAX_DIGITS or str(int(sent)) != sent:
        return Check.TIMESTAMP_MALFORMED
    timestamp = int(sent)
    if abs(now - timestamp) > tolerance_s:
        return Check.TOO_OLD if timestamp < now else Check.TOO_NEW
    return _match(signer.sign(message_id, timestamp, body), signature)


def _match(expected: str, given: str) -> Check:
    """Compare every pair of tokens, whether or not one matched already."""
    pairs = [(ours, theirs) for ours in expected.split(" ") for theirs in given.split(" ")]
    matches = [hmac.compare_digest(ours, theirs) for ours, theirs in pairs]
    return Check.VERIFIED if any(matches) else Check.NO_MATCH


def _token_maker(secret: SigningSecret) -> _Token:
    if secret.kind is SecretKind.HMAC256:
        return _hmac_token(secret.key)
    return _ed25519_token(secret)


def _hmac_token(key: bytes) -> _Token:
    """Hash the two padded keys of HMAC (RFC 2104) once; a signature copies the two states.

    Measured for a body of 200 bytes on CPython 3.11: 1.3 us this way, 1.9 by copying an
    `hmac.new` object, 3.9 by `hmac.digest`, which sets up the key each time.
    """
    if len(key) > _BLOCK_BYTES:
        key = sha256(key).digest()
    padded = key.ljust(_BLOCK_BYTES, b"\0")
    inner_copy = sha256(padded.translate(_INNER)).copy
    outer_copy = sha256(padded.translate(_OUTER)).copy

    def token(head: bytes, payload: bytes) -> bytes:
        inner = inner_copy()
        inner.update(head)
        inner.update(payload)
        outer = outer_copy()
        outer.update(inner.digest())
        return b"v1," + b2a_base64(outer.digest(), newline=False)

    return token


def _ed25519_token(secret: SigningSecret) -> _Token:
    sign = secret.private_key().sign

    def token(head: bytes, payload: bytes) -> bytes:
        return b"v1a," + b2a_base64(sign(head + payload), newline=False)

    return token
