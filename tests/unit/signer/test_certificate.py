"""What is read of certificates and private keys, and what is said of those that cannot be used."""

import base64
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from signer.certificate import (
    MAX_CERTIFICATES,
    MAX_PEM_CHARS,
    read_authorities,
    read_identity,
    read_rsa_key,
)
from signer.errors import CertificateFault
from signer.tls import client_context
from tests.certificates import (
    DAY,
    Issued,
    Key,
    authority_pem,
    issue,
    key_pem,
    new_key,
    usage,
)
from tests.receiver import make_authority

NOW = datetime.now(UTC)
AUTHORITY = make_authority()
CLIENT = issue(AUTHORITY)
CA = x509.BasicConstraints(ca=True, path_length=None)


@cache
def rsa_key(bits: int) -> Key:
    """Make one, once; a large one takes its time."""
    return new_key(f"rsa{bits}")


def refused(text: str) -> str:
    with pytest.raises(CertificateFault) as fault:
        read_authorities(text, NOW)
    return str(fault.value)


def refused_identity(text: str) -> str:
    with pytest.raises(CertificateFault) as fault:
        read_identity(text, NOW)
    return str(fault.value)


def test_authorities_are_written_anew_without_what_stood_around_them() -> None:
    first, second = authority_pem(AUTHORITY), issue(None, extensions=(CA,)).pem

    read = read_authorities(f"# Corporate\r\n{first}\n\n  and another\n{second}trailer", NOW)

    assert read.pem == first + second
    assert client_context(read.pem).get_ca_certs()


def test_the_first_to_end_says_until_when_all_of_them_count() -> None:
    soon = issue(None, ends=NOW + timedelta(hours=1))

    read = read_authorities(authority_pem(AUTHORITY) + soon.pem, NOW)

    assert read.ends_at == soon.certificate.not_valid_after_utc


@pytest.mark.parametrize(
    "certificate",
    [
        issue(None, extensions=(CA, usage(key_cert_sign=True))),
        issue(None, extensions=(CA,)),
        issue(None),
        issue(AUTHORITY, extensions=(x509.BasicConstraints(ca=False, path_length=None),)),
        issue(AUTHORITY, extensions=(usage(key_cert_sign=False),)),
    ],
    ids=["authority", "authority-of-few-words", "self-signed", "leaf", "leaf-with-usage"],
)
def test_an_authoritys_certificate_and_the_servers_own_may_vouch(certificate: Issued) -> None:
    assert read_authorities(certificate.pem, NOW).pem == certificate.pem


UNNUMBERED = """\
-----BEGIN CERTIFICATE-----
MIIBYDCCAQagAwIBAgIBADAKBggqhkjOPQQDAjAOMQwwCgYDVQQDDANPbGQwIBcN
MjYxMTI5MTUxMDE0WhgPMjEyNjExMDUxNTEwMTRaMA4xDDAKBgNVBAMMA09sZDBZ
MBMGByqGSM49AgEGCCqGSM49AwEHA0IABI6b1pRyFxrvMGuWiuFSAcA2ZlsZa+jh
zF8tonpQLQtRozfRIXGY7try2GeHJ0UC6ackOpo14sAxbASLCL4UEHyjUzBRMB0G
A1UdDgQWBBQWNExmgHfrI1GPGvUcGn5zImT5HjAfBgNVHSMEGDAWgBQWNExmgHfr
I1GPGvUcGn5zImT5HjAPBgNVHRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUC
IQC1yozkm5VqQyBd89BAUg0qEUhuWM8DWv+oVofgvwh5ZwIgeb5Y+Bw9YUolduDs
65FCLaxYfC8Za7ElK6Tb0MKF1vk=
-----END CERTIFICATE-----
"""
CUT = authority_pem(AUTHORITY)
WRONG = {
    "nothing": ("", "holds no certificate"),
    "words": ("trust me", "holds no certificate"),
    "cut": (CUT[:-30], "a block of the PEM does not end"),
    "begun": ("-----BEGIN " * 5_000, "a block of the PEM does not end"),
    "damaged": (CUT.replace("MII", "AAA", 1), "a certificate cannot be read"),
    "empty": ("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----", "cannot be read"),
    "no-latin": (CUT.replace("MII", "\u00e9II", 1), "a certificate cannot be read"),
    "key": (CLIENT.identity, "holds a private key, which nobody else should see"),
    "other": (CUT.replace("CERTIFICATE", "PUBLIC KEY"), "something else than certificates"),
    "expired": (
        issue(None, name="Old Root", ends=NOW - DAY).pem,
        f"CN=Old Root expired on {(NOW - DAY).date()}",
    ),
    "early": (
        issue(None, name="New Root", begins=NOW + DAY, ends=NOW + 2 * DAY).pem,
        f"CN=New Root is not valid before {(NOW + DAY).date()}",
    ),
    "one-of-two": (CUT + issue(None, ends=NOW - DAY).pem, "expired on"),
    "no-signer": (
        issue(None, name="Halt", extensions=(CA, usage(key_cert_sign=False))).pem,
        "CN=Halt is of an authority that may not sign",
    ),
    "large": ("x" * (MAX_PEM_CHARS + 1), f"must have at most {MAX_PEM_CHARS} characters"),
    "many": (
        issue(None).pem * (MAX_CERTIFICATES + 1),
        f"holds more than {MAX_CERTIFICATES} certificates",
    ),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_authorities_that_cannot_be_used_are_refused_with_the_reason(text: str, said: str) -> None:
    assert said in refused(text)


@given(st.text(max_size=400), st.binary(max_size=300))
def test_whatever_is_no_certificate_is_refused(text: str, content: bytes) -> None:
    refused(text)
    body = base64.b64encode(content).decode()
    refused(f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")


@given(st.data())
def test_a_certificate_of_which_a_bit_was_changed_is_read_or_refused(data: st.DataObject) -> None:
    der = bytearray(AUTHORITY.certificate.public_bytes(serialization.Encoding.DER))
    place = data.draw(st.integers(0, len(der) - 1))
    der[place] ^= 1 << data.draw(st.integers(0, 7))
    body = base64.b64encode(bytes(der)).decode()
    text = f"-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"

    with suppress(CertificateFault):
        assert read_authorities(text, NOW).pem


def of_version(pem: str, version: int) -> str:
    """Give a certificate a version that no library writes."""
    der = bytearray(ssl.PEM_cert_to_DER_cert(pem))
    der[der.index(b"\xa0\x03\x02\x01") + 4] = version
    return ssl.DER_cert_to_PEM_cert(bytes(der))


def test_a_version_that_never_was_cannot_be_read() -> None:
    assert "cannot be read" in refused(of_version(issue(None).pem, 42))


def test_an_authority_of_old_may_have_the_serial_number_0() -> None:
    assert read_authorities(UNNUMBERED, NOW).pem == UNNUMBERED


@pytest.mark.parametrize("kind", ["rsa2048", "rsa4096", "p256", "p384", "p521", "ed25519"])
def test_an_identity_of_every_usual_kind_is_read_and_fit_for_tls(kind: str) -> None:
    key = rsa_key(int(kind[3:])) if kind.startswith("rsa") else new_key(kind)
    made = issue(AUTHORITY, name="Hook Line", key=key)

    read = read_identity(made.identity, NOW)

    assert (read.subject, read.ends_at) == (
        "CN=Hook Line",
        made.certificate.not_valid_after_utc,
    )
    assert read.pem.decode() == made.identity
    client_context(authority_pem(AUTHORITY), read.pem)


def test_the_order_within_an_identity_is_put_right() -> None:
    middle = issue(AUTHORITY, name="Middle", extensions=(CA,))
    leaf = issue(middle, name="Leaf")

    read = read_identity(middle.pem + leaf.pem + key_pem(leaf.key), NOW)

    assert read.pem.decode() == leaf.identity + middle.pem
    assert read.subject == "CN=Leaf"


@pytest.mark.parametrize("kind", ["rsa2048", "p256"])
def test_a_key_in_the_traditional_form_is_taken_too(kind: str) -> None:
    made = issue(AUTHORITY, key=rsa_key(2048) if kind == "rsa2048" else new_key(kind))
    parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    before = parameters if kind == "p256" else ""

    read = read_identity(before + key_pem(made.key, traditional=True) + made.pem, NOW)

    assert read.pem.decode() == made.identity


def test_what_an_identity_is_says_nothing_of_its_key() -> None:
    read = read_identity(CLIENT.identity, NOW)

    assert "PRIVATE" not in repr(read)


def spoiled() -> str:
    """Give an RSA key whose parts do not belong together."""
    good, bit = rsa_key(2048).private_numbers(), 4
    numbers = rsa.RSAPrivateNumbers(
        p=good.p,
        q=good.q,
        d=good.d - 2,
        dmp1=good.dmp1 ^ bit,
        dmq1=good.dmq1 ^ bit,
        iqmp=good.iqmp ^ bit,
        public_numbers=good.public_numbers,
    )
    return key_pem(numbers.private_key(unsafe_skip_rsa_key_validation=True))


WRONG_IDENTITIES = {
    "nothing": ("", "one private key is expected beside the certificate, not 0"),
    "no-key": (CLIENT.pem, "not 0"),
    "two-keys": (CLIENT.identity + key_pem(new_key()), "not 2"),
    "no-certificate": (key_pem(CLIENT.key), "holds no certificate"),
    "anothers-key": (key_pem(new_key()) + CLIENT.pem, "is not that of a certificate here"),
    "another-kind": (key_pem(rsa_key(2048)) + CLIENT.pem, "is not that of a certificate here"),
    "encrypted": (
        key_pem(CLIENT.key, passphrase="open sesame") + CLIENT.pem,
        "the private key is encrypted: give it without a passphrase",
    ),
    "encrypted-of-old": (
        key_pem(CLIENT.key, passphrase="open sesame", traditional=True) + CLIENT.pem,
        "the private key is encrypted",
    ),
    "damaged": (CLIENT.identity.replace("MIG", "AAA", 1), "the private key cannot be read"),
    "weak": (issue(AUTHORITY, key=rsa_key(1024)).identity, "must be RSA of 2048 to 4096 bits"),
    "curve": (issue(AUTHORITY, key=new_key("k1")).identity, "EC on P-256, P-384 or P-521"),
    "dsa": (key_pem(new_key("dsa")) + CLIENT.pem, "or Ed25519"),
    "spoiled": (
        spoiled() + issue(AUTHORITY, key=rsa_key(2048)).pem,
        "the private key cannot be used: it is not well made",
    ),
    "expired": (issue(AUTHORITY, name="Gone", ends=NOW - DAY).identity, "CN=Gone expired on"),
    "large": (
        "-----BEGIN PRIVATE KEY-----\n" + "A" * 9_000 + "\n-----END PRIVATE KEY-----\n",
        "the private key is too large",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "said"), WRONG_IDENTITIES.values(), ids=WRONG_IDENTITIES)
def test_an_identity_that_cannot_be_used_is_refused_with_the_reason(text: str, said: str) -> None:
    told = refused_identity(text)

    assert said in told
    assert "MI" not in told


def encoded(key: Key, encoding: serialization.Encoding) -> str:
    written = key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return base64.b64encode(written).decode()


@pytest.mark.parametrize("encoding", [serialization.Encoding.PEM, serialization.Encoding.DER])
def test_a_key_for_assertions_is_read_as_pem_or_der(encoding: serialization.Encoding) -> None:
    read = read_rsa_key(encoded(rsa_key(2048), encoding))

    assert read.decode() == key_pem(rsa_key(2048))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("?", "is not standard, padded base64"),
        ("AAAA", "the private key cannot be read"),
        ("A" * 20_000, "is larger than a private key"),
        (encoded(CLIENT.key, serialization.Encoding.DER), "is not an RSA private key"),
        (encoded(rsa_key(1024), serialization.Encoding.DER), "must be RSA of 2048"),
        (base64.b64encode(CLIENT.pem.encode()).decode(), "one private key"),
        (base64.b64encode(spoiled().encode()).decode(), "it is not well made"),
        (base64.b64encode(b"-----BEGIN ").decode(), "a block of the PEM does not end"),
    ],
    ids=["text", "short", "large", "ec", "weak", "certificate", "spoiled", "cut"],
)
def test_a_key_for_assertions_that_cannot_be_used_is_refused(text: str, said: str) -> None:
    with pytest.raises(CertificateFault) as fault:
        read_rsa_key(text)

    assert said in str(fault.value)
