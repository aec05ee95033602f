"""A certificate authority for one run, and a receiver's certificate of it."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.ports import LOOPBACK

_DAY: Final = timedelta(days=1)


def write_certificates(directory: Path) -> tuple[Path, Path]:
    """Write an authority's certificate, and key and certificate of a receiver on loopback."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _unsigned("Bench authority", "Bench authority", authority_key)
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    authority = authority.add_extension(constraints, critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address(LOOPBACK))])
    receiver = _unsigned("receiver", "Bench authority", key).add_extension(names, critical=False)
    trusted, served = directory / "authority.pem", directory / "receiver.pem"
    trusted.write_bytes(_signed(authority, authority_key))
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    served.write_bytes(private + _signed(receiver, authority_key))
    return trusted, served


def _unsigned(
    subject: str, issuer: str, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + _DAY)
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _signed(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
