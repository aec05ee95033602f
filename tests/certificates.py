"""Certificates and keys of tests, of every kind that there is to be read, right and wrong."""

import ssl
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from tests.receiver import Authority

DAY = timedelta(days=1)
Key = Any  # a private key of whichever kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A private key and its certificate."""

    key: Key = field(repr=False)
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def identity(self) -> str:
        """Both, the key first."""
        return key_pem(self.key) + self.pem


def authority_pem(authority: Authority) -> str:
    return authority.certificate.public_bytes(serialization.Encoding.PEM).decode()


def new_key(kind: str = "p256") -> Key:
    """Make a key: rsa1024 to rsa8192, p256, p384, p521, ed25519, and what nobody takes."""
    curves = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}
    if kind.startswith("rsa"):
        return rsa.generate_private_key(65537, int(kind[3:]))
    if kind in curves:
        return ec.generate_private_key(curves[kind]())
    if kind == "k1":
        return ec.generate_private_key(ec.SECP256K1())
    if kind == "dsa":
        return dsa.generate_private_key(1024)  # noqa: S505 - a larger one takes its time
    return ed25519.Ed25519PrivateKey.generate()


def key_pem(key: Key, *, passphrase: str | None = None, traditional: bool = False) -> str:
    """Write a private key, as PKCS#8 unless in the traditional form."""
    forms = serialization.PrivateFormat
    return key.private_bytes(
        serialization.Encoding.PEM,
        forms.TraditionalOpenSSL if traditional else forms.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption(),
    ).decode()


def issue(
    authority: Authority | Issued | None,
    *,
    name: str = "client",
    key: Key | None = None,
    begins: datetime | None = None,
    ends: datetime | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
) -> Issued:
    """Issue a certificate; without an authority it is self-signed."""
    own = new_key() if key is None else key
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if authority is None else authority.certificate.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - 2 * DAY)
        .not_valid_after(ends or now + DAY)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)
    signing = own if authority is None else authority.key
    digest = None if isinstance(signing, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return Issued(key=own, certificate=builder.sign(signing, digest))


def usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    """Say what a key may be used for."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def asking(
    authority: Authority,
    clients: Authority,
    *,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> ssl.SSLContext:
    """Return a server's context that wants certificates of `clients`."""
    context = authority.server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=authority_pem(clients))
    context.maximum_version = newest
    return context
