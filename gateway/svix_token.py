"""Svix's tokens: JWTs that a self-hosted Svix signs, read and checked without a look-up.

`sub` is `org_...`, an operator of the environment of that id, or `app_...` with `org`, somebody who
acts within that app as from a portal. Issuer and audience say nothing. A token without `exp` does
not end by itself. The source is Svix's server, `svix-server/src/core/security.rs`.
"""

import hashlib
import hmac
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)

from schema import ids
from schema.api_key import ApiKey, KeyKind
from schema.errors import BadState, Unauthenticated

ALGORITHMS: Final = ("HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "EdDSA")
LEAST_SECRET_BYTES: Final = 16
LEEWAY: Final = timedelta(seconds=60)  # for clocks that differ
_BAD: Final = "bad_token"
_HMAC: Final = "HS"
_LAST_S: Final = 200_000_000_000
_JTI_BYTES: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGEST_CHARACTERS: Final = 40  # 160 bits
_CHECKS: Final[Any] = {
    # Times are held to our clock, and which fields there must be we say ourselves.
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}

PublicKey = rsa.RSAPublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What tokens are signed with. `signs` is None where they can be checked alone."""

    algorithm: str
    checks: str | PublicKey = field(repr=False)
    signs: str | PrivateKey | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that is well signed and has not ended, as a key; `key.id` is made of its content."""

    key: ApiKey
    issued_at: datetime


def read_rules(algorithm: str, secret: str) -> TokenRules:
    """Read what tokens are signed with: a secret, or a PEM (of a private key, or its public one).

    Raises:
        ValueError: It does not fit the algorithm; worded to follow "must be".
    """
    if algorithm.startswith(_HMAC):
        if len(secret.encode()) < LEAST_SECRET_BYTES:
            raise ValueError(
                f"{LEAST_SECRET_BYTES} bytes or more: one token is enough to guess a shorter one"
            )
        return TokenRules(algorithm=algorithm, checks=secret, signs=secret)
    public, private = _read_pem(secret)
    kind = ed25519.Ed25519PublicKey if algorithm == "EdDSA" else rsa.RSAPublicKey
    fits = isinstance(public, kind)
    if not fits:
        which = "an Ed25519" if algorithm == "EdDSA" else "an RSA"
        raise ValueError(f"the PEM of {which} key, public or private")
    return TokenRules(algorithm=algorithm, checks=public, signs=private)


def _read_pem(text: str) -> tuple[Any, Any]:
    """Read a public key, and the private one if it is there; backslash and n may end a line."""
    pem = text.replace("\\n", "\n").encode()
    try:
        if b"PRIVATE KEY" not in pem:
            return load_pem_public_key(pem), None
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None, None
    return private.public_key(), private


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a token."""
    return text.count(".") == 2  # noqa: PLR2004 - header, claims, signature


def read_token(rules: TokenRules, text: str, now: datetime) -> Token:
    """Check a token and give whom it stands for.

    Raises:
        Unauthenticated: It is not signed as it must be, has ended, or has not begun.
        BadState: It stands for nobody that we know of.
    """
    try:
        claims = jwt.decode(
            text,
            rules.checks,
            algorithms=[rules.algorithm],
            options=_CHECKS,
        )
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise Unauthenticated("Invalid token") from None
    moments = {name: _moment(claims, name) for name in ("iat", "nbf", "exp")}
    begins, ends = moments["nbf"], moments["exp"]
    if (begins is not None and begins > now + LEEWAY) or (
        ends is not None and ends + LEEWAY <= now
    ):
        raise Unauthenticated("Invalid token")
    issued_at = moments["iat"] or _EPOCH
    ends_at = None if ends is None else ends + LEEWAY
    return Token(key=_key(text, claims, issued_at, ends_at), issued_at=issued_at)


def refuse(rules: TokenRules | None, text: str) -> Unauthenticated:
    """Give the word on a text that is neither a key nor a token."""
    secret = rules.checks if rules is not None else None
    if isinstance(secret, str) and hmac.compare_digest(secret.encode(), text.encode()):
        return Unauthenticated(
            "This is the secret that tokens are signed with, and no token:"
            " make one with `hookline jwt generate`."
        )
    return Unauthenticated()


def make_token(
    rules: TokenRules,
    *,
    environment_id: str,
    app_id: str | None,
    now: datetime,
    lifetime: timedelta,
) -> str:
    """Make a token as Svix does: of an environment's operator, or of an app. No two are the same.

    Raises:
        ValueError: The key can only check.
    """
    if rules.signs is None:
        raise ValueError("the private key: a public one can only check tokens")
    claims: dict[str, object] = {
        "iat": int(now.timestamp()),
        "nbf": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
        "iss": "hookline",
        "jti": os.urandom(_JTI_BYTES).hex(),
        "sub": app_id or environment_id,
    }
    if app_id is not None:
        claims["org"] = environment_id
    return jwt.encode(claims, rules.signs, algorithm=rules.algorithm)


def _key(
    text: str, claims: Mapping[str, Any], issued_at: datetime, ends_at: datetime | None
) -> ApiKey:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise Unauthenticated("Invalid token (missing `sub`).")
    of_app = "org" in claims
    environment_id = claims["org"] if of_app else subject
    if not isinstance(environment_id, str) or not ids.is_id(ids.ENVIRONMENT, environment_id):
        what = "`org`" if of_app else "`sub`"
        raise BadState(f"{what} is not the id of an environment (org_…).", _BAD)
    if of_app and not ids.is_id(ids.APP, subject):
        raise BadState("`sub` is not the id of an app (app_…).", _BAD)
    return ApiKey(
        id=_name(text, claims),
        environment_id=environment_id,
        app_id=subject if of_app else None,
        kind=KeyKind.PORTAL if of_app else KeyKind.OPERATOR,
        name="",
        hint="",
        scopes=(),
        session_id=None,
        created_at=issued_at,
        expires_at=ends_at,
        revoked_at=None,
        last_used_at=None,
        feature_flags=_flags(claims) if of_app else (),
    )


def _name(text: str, claims: Mapping[str, Any]) -> str:
    """Name a token by its `jti`, or by what is signed, however the signature is written."""
    ident = claims.get("jti")
    source = f"jti:{ident}" if isinstance(ident, str) and ident else text.rpartition(".")[0]
    return ids.TOKEN + hashlib.sha256(source.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def _flags(claims: Mapping[str, Any]) -> tuple[str, ...]:
    flags = claims.get("feature_flags")
    if not isinstance(flags, list):
        return ()
    return tuple(flag for flag in flags if isinstance(flag, str))


def _moment(claims: Mapping[str, Any], name: str) -> datetime | None:
    """Read a time, in seconds since 1970; what is beyond a few thousand years is as good as then.

    Raises:
        Unauthenticated: It is none.
    """
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise Unauthenticated("Invalid token")
    return _EPOCH + timedelta(seconds=min(max(value, 0), _LAST_S))
