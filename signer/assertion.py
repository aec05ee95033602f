"""Assertions of who a client is, signed by its private key (RFC 7523): JWTs by RS256."""

import json
from base64 import urlsafe_b64encode
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from signer.errors import SecretFault

KIND: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def client_assertion(
    key: bytes,
    *,
    client_id: str,
    audience: str,
    ident: str,
    now_s: int,
    lifetime_s: int,
    key_id: str | None = None,
) -> str:
    """Make one.

    Args:
        key: An RSA private key as PEM, as `certificate.read_rsa_key` gives it.
        client_id: Who says it, and of whom.
        audience: To whom, by its URL.
        ident: Never used before.
        now_s: The Unix time.
        lifetime_s: How long it counts.
        key_id: By which name the other side knows the key.

    Raises:
        SecretFault: The key is none of RSA.
    """
    private = serialization.load_pem_private_key(key, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise SecretFault("the key of the client's assertions is no RSA key")
    head = {"alg": "RS256", "typ": "JWT"} | ({} if key_id is None else {"kid": key_id})
    claims = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": ident,
        "iat": now_s,
        "exp": now_s + lifetime_s,
    }
    signed = f"{_encoded(head)}.{_encoded(claims)}"
    signature = private.sign(signed.encode("ascii"), padding.PKCS1v15(), hashes.SHA256())
    return f"{signed}.{_base64(signature)}"


def _encoded(part: dict[str, Any]) -> str:
    return _base64(json.dumps(part, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
