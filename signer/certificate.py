"""Certificates and private keys as PEM: read, judged, and written anew from what was understood.

`Authorities` are what a server is verified by: authorities' certificates, or the server's own.
`Identity` is as whom we go to a server: a private key, its certificate, and those above it. No
message ever holds a part of a key.
"""

import binascii
import ssl
import warnings
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from signer import tls
from signer.errors import CertificateFault

MAX_PEM_CHARS: Final = 65_536
MAX_CERTIFICATES: Final = 32
MAX_KEY_CHARS: Final = 8_192  # of one private key as PEM
RSA_BITS: Final = range(2048, 4097)
CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_BEGIN: Final = "-----BEGIN "
_DASHES: Final = "-----"
_CERTIFICATES: Final = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_SHOWN: Final = 128  # characters of a name
_TRIAL: Final = b"hookline"
_Extension = TypeVar("_Extension", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorities:
    """What a server is verified by. `ends_at` is when the first of the certificates expires."""

    pem: str
    ends_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A private key with its certificate first and those above it behind.

    `ends_at` is when the first of the certificates expires.
    """

    pem: bytes = field(repr=False)
    subject: str
    ends_at: datetime


def read_authorities(text: str, now: datetime) -> Authorities:
    """Read one or several certificates.

    Raises:
        CertificateFault: They cannot be used, or not at this time.
    """
    blocks = list(_blocks(text))
    if any("PRIVATE KEY" in label for label, _ in blocks):
        raise CertificateFault("holds a private key, which nobody else should see: leave it out")
    found = _certificates(blocks, now)
    for certificate in found:
        if not _may_vouch(certificate):
            raise CertificateFault(f"{_name(certificate)} is of an authority that may not sign")
    pem = "".join(_written(certificate) for certificate in found)
    _tried(lambda: tls.trust(tls.bare_context(), pem))
    return Authorities(pem=pem, ends_at=_ends_at(found))


def read_identity(text: str, now: datetime) -> Identity:
    """Read a private key and its certificate, with what stands above that; in any order.

    Raises:
        CertificateFault: They cannot be used, do not belong together, or not at this time.
    """
    blocks = list(_blocks(text))
    keys = [block for label, block in blocks if "PRIVATE KEY" in label]
    if len(keys) != 1:
        raise CertificateFault(
            f"one private key is expected beside the certificate, not {len(keys)}"
        )
    others = [(label, block) for label, block in blocks if "PRIVATE KEY" not in label]
    key = _read_key(keys[0])
    found = _certificates([b for b in others if b[0] != "EC PARAMETERS"], now)
    own = [certificate for certificate in found if _belongs(key, certificate)]
    if not own:
        raise CertificateFault("the private key is not that of a certificate here")
    _try_key(key)
    ordered = [own[0], *(certificate for certificate in found if certificate not in own)]
    pem = _private_pem(key) + "".join(_written(certificate) for certificate in ordered).encode()
    _tried(lambda: tls.identify(tls.bare_context(), pem))
    return Identity(pem=pem, subject=_name(own[0]), ends_at=_ends_at(ordered))


def read_rsa_key(encoded: str) -> bytes:
    """Read an RSA private key, PEM or DER, out of its base64; give it as PEM.

    Raises:
        CertificateFault: It cannot be used.
    """
    if len(encoded) > 2 * MAX_KEY_CHARS:
        raise CertificateFault("is larger than a private key")
    try:
        raw = b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise CertificateFault("is not standard, padded base64") from None
    if raw.lstrip().startswith(_DASHES.encode()):
        [(label, block), *more] = list(_blocks(raw.decode("ascii", errors="replace"))) or [("", "")]
        if more or "PRIVATE KEY" not in label:
            raise CertificateFault("one private key, and nothing else, is expected")
        key: object = _read_key(block)
    else:
        key = _loaded(raw, serialization.load_der_private_key)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CertificateFault("is not an RSA private key")
    _try_key(key)
    return _private_pem(key)


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Give the blocks of a PEM text, with their labels; what stands around them is nothing.

    Goes through the text once.
    """
    if len(text) > MAX_PEM_CHARS:
        raise CertificateFault(f"must have at most {MAX_PEM_CHARS} characters")
    at = 0
    while (start := text.find(_BEGIN, at)) >= 0:
        label_at = start + len(_BEGIN)
        label_end = text.find(_DASHES, label_at)
        label = text[label_at:label_end]
        last = f"-----END {label}-----"
        end = text.find(last, label_end) if label_end >= 0 else -1
        if end < 0:
            raise CertificateFault("a block of the PEM does not end")
        at = end + len(last)
        yield label, text[start:at]


def _certificates(blocks: Sequence[tuple[str, str]], now: datetime) -> list[x509.Certificate]:
    """Read certificates that are all in their time."""
    for label, _ in blocks:
        if label not in _CERTIFICATES:
            raise CertificateFault("holds something else than certificates")
    if not blocks:
        raise CertificateFault("holds no certificate: PEM begins with -----BEGIN CERTIFICATE-----")
    if len(blocks) > MAX_CERTIFICATES:
        raise CertificateFault(f"holds more than {MAX_CERTIFICATES} certificates")
    found = [_read_certificate(block) for _, block in blocks]
    for certificate in found:
        if certificate.not_valid_after_utc <= now:
            ended = certificate.not_valid_after_utc.date()
            raise CertificateFault(f"{_name(certificate)} expired on {ended}")
        if certificate.not_valid_before_utc > now:
            begins = certificate.not_valid_before_utc.date()
            raise CertificateFault(f"{_name(certificate)} is not valid before {begins}")
    return found


def _read_certificate(block: str) -> x509.Certificate:
    try:
        with warnings.catch_warnings(
            action="ignore"
        ):  # of what old authorities have, as a serial 0
            certificate = x509.load_pem_x509_certificate(block.encode())
            certificate.public_key()
            _ = certificate.subject, certificate.extensions  # which are read late else
            _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except Exception:  # noqa: BLE001 the library has many words for what cannot be read
        raise CertificateFault("a certificate cannot be read") from None
    return certificate


def _may_vouch(certificate: x509.Certificate) -> bool:
    """Tell whether a server can be verified by a certificate: an authority's, or its own."""
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    is_authority = constraints is not None and constraints.ca
    return not is_authority or usage is None or usage.key_cert_sign


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _read_key(block: str) -> PrivateKey:
    if len(block) > MAX_KEY_CHARS:
        raise CertificateFault("the private key is too large")
    if "ENCRYPTED" in block:
        raise CertificateFault("the private key is encrypted: give it without a passphrase")
    return _loaded(block.encode(), serialization.load_pem_private_key)


def _loaded(data: bytes, load: Callable[..., object]) -> PrivateKey:
    """Read a private key of a kind that we take.

    An RSA key is not proved to be well made: that takes half a second, during which nothing else
    runs. It has to sign something instead (`_try_key`).
    """
    try:
        key = load(data, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise CertificateFault("the private key cannot be read") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size in RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in CURVES:
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key
    raise CertificateFault(
        f"the private key must be RSA of {RSA_BITS[0]} to {RSA_BITS[-1]} bits, EC on P-256, P-384 "
        "or P-521, or Ed25519"
    )


def _belongs(key: PrivateKey, certificate: x509.Certificate) -> bool:
    return _public(key.public_key()) == _public(certificate.public_key())


def _public(key: object) -> bytes | None:
    """Give what is the same for the same key; None for a kind that no key of ours is of."""
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return None
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _try_key(key: PrivateKey) -> None:
    """Have a key sign, and see whether its public part says so."""
    try:
        if isinstance(key, rsa.RSAPrivateKey):
            signed = key.sign(_TRIAL, padding.PKCS1v15(), hashes.SHA256())
            key.public_key().verify(signed, _TRIAL, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            signed = key.sign(_TRIAL, ec.ECDSA(hashes.SHA256()))
            key.public_key().verify(signed, _TRIAL, ec.ECDSA(hashes.SHA256()))
        else:
            key.public_key().verify(key.sign(_TRIAL), _TRIAL)
    except (InvalidSignature, ValueError):
        raise CertificateFault("the private key cannot be used: it is not well made") from None


def _tried(use: Callable[[], None]) -> None:
    """See whether TLS takes what was read."""
    try:
        use()
    except ssl.SSLError as error:
        reason = (error.reason or "no reason given").lower().replace("_", " ")
        raise CertificateFault(f"cannot be used for TLS: {reason}") from None


def _name(certificate: x509.Certificate) -> str:
    """Give whose certificate it is, fit to be shown."""
    try:
        text = certificate.subject.rfc4514_string()
    except ValueError:
        text = ""
    shown = "".join(one if one.isprintable() else "?" for one in text[:_SHOWN])
    return shown or "a certificate without a name"


def _ends_at(certificates: Iterable[x509.Certificate]) -> datetime:
    return min(certificate.not_valid_after_utc for certificate in certificates)


def _written(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode("ascii")


def _private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
