"""Svix's tokens: which count, whom they stand for, and what is said of those that do not."""

import base64
import json
import string
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from gateway.svix_token import LEEWAY, make_token, read_rules, read_token, refuse
from schema.api_key import KeyKind
from schema.errors import BadState, Unauthenticated

SECRET = "a secret of tests, as long as it has to be for the longest of them all."
RULES = read_rules("HS256", SECRET)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ORG, APP = "org_23rb8YdGqMT0qIzpgGwdXfHirMu", "app_1srOrx2ZWZBpBUvZwXKQmoEYga2"
DAY = timedelta(days=1)


def signed(*, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode(claims, secret, algorithm=algorithm)


def as_svix_makes_it(**more: Any) -> str:
    """Make the token that `svix-server jwt generate` prints."""
    at = int(NOW.timestamp())
    ten_years = 315_360_000
    return signed(
        **{"iat": at, "exp": at + ten_years, "nbf": at, "iss": "svix-server", "sub": ORG} | more
    )


def pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    public = key.public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def test_an_organizations_token_is_the_operator_of_its_environment() -> None:
    key = read_token(RULES, as_svix_makes_it(), NOW).key

    assert (key.kind, key.environment_id, key.app_id) == (KeyKind.OPERATOR, ORG, None)
    assert (key.scopes, key.capabilities) == ((), None)
    assert key.expires_at is not None
    assert key.expires_at > NOW + 3649 * DAY


def test_an_apps_token_acts_within_the_app_and_sees_what_its_flags_show() -> None:
    text = as_svix_makes_it(sub=APP, org=ORG, feature_flags=["beta", 7])

    key = read_token(RULES, text, NOW).key

    assert (key.kind, key.environment_id, key.app_id) == (KeyKind.PORTAL, ORG, APP)
    assert (key.feature_flags, key.capabilities) == (("beta",), None)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - LEEWAY},
        {"nbf": NOW + LEEWAY + timedelta(seconds=1)},
        {"exp": "tomorrow"},
        {"exp": True},
        {"exp": float("nan")},
    ],
)
def test_a_token_that_has_ended_or_not_begun_does_not_count(claims: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated, match="Invalid token"):
        read_token(RULES, as_svix_makes_it(**claims), NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - LEEWAY + timedelta(seconds=1)},
        {"nbf": NOW + LEEWAY, "iat": NOW + DAY},
        {"exp": 1e300},
        {"exp": None, "nbf": None, "iat": None},
        {"aud": "somebody", "iss": "anybody", "jti": 7},
    ],
)
def test_clocks_may_differ_by_a_minute_and_what_says_nothing_is_passed_by(
    claims: dict[str, Any],
) -> None:
    assert read_token(RULES, as_svix_makes_it(**claims), NOW).key.environment_id == ORG


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"sub": None}, "Invalid token .missing `sub`.."),
        ({"sub": ""}, "Invalid token .missing `sub`.."),
        ({"sub": 7}, "Invalid token .missing `sub`.."),
    ],
)
def test_a_token_without_a_subject_says_so(claims: dict[str, Any], said: str) -> None:
    with pytest.raises(Unauthenticated, match=said):
        read_token(RULES, as_svix_makes_it(**claims), NOW)


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "usr_1"},
        {"sub": "org_short"},
        {"sub": APP},
        {"sub": APP, "org": "org_short"},
        {"sub": APP, "org": None},
        {"sub": ORG, "org": ORG},
        {"sub": "app_short", "org": ORG},
    ],
)
def test_a_subject_that_nobody_can_be_is_a_bad_token(claims: dict[str, Any]) -> None:
    with pytest.raises(BadState) as raised:
        read_token(RULES, as_svix_makes_it(**claims), NOW)

    assert raised.value.code == "bad_token"


@pytest.mark.parametrize(
    "text",
    [
        "a.b.c",
        "..",
        signed(sub=ORG, secret="another secret, which nobody here believes in at all."),
        signed(sub=ORG, algorithm="HS384"),
        jwt.encode({"sub": ORG}, "", algorithm="none"),
        as_svix_makes_it().rpartition(".")[0] + ".",
        "\xff.\xff.\xff",
    ],
)
def test_what_is_not_signed_as_it_must_be_does_not_count(text: str) -> None:
    with pytest.raises(Unauthenticated, match="Invalid token"):
        read_token(RULES, text, NOW)


def test_claims_that_were_changed_do_not_count() -> None:
    head, claims, signature = as_svix_makes_it(sub=APP, org=ORG).split(".")
    read = json.loads(base64.urlsafe_b64decode(claims + "=="))
    read["sub"] = read.pop("org")
    forged = base64.urlsafe_b64encode(json.dumps(read).encode()).decode().rstrip("=")

    with pytest.raises(Unauthenticated):
        read_token(RULES, f"{head}.{forged}.{signature}", NOW)


def test_a_public_key_is_not_taken_for_a_secret() -> None:
    """The attack: sign by HS256, with the public key that everybody knows as the secret."""
    known = public_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    header = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').decode().rstrip("=")
    claims = base64.urlsafe_b64encode(json.dumps({"sub": ORG}).encode()).decode().rstrip("=")
    hmac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = hmac.sign(f"{header}.{claims}".encode(), known.encode())
    text = f"{header}.{claims}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"

    with pytest.raises(Unauthenticated):
        read_token(read_rules("RS256", known), text, NOW)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512", "RS256", "RS512", "EdDSA"])
def test_what_is_made_is_read_back_by_every_algorithm(algorithm: str) -> None:
    secret = SECRET
    if algorithm.startswith("RS"):
        secret = pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    if algorithm == "EdDSA":
        secret = pem(ed25519.Ed25519PrivateKey.generate())
    rules = read_rules(algorithm, secret)

    text = make_token(rules, environment_id=ORG, app_id=APP, now=NOW, lifetime=DAY)

    key = read_token(rules, text, NOW).key
    assert (key.environment_id, key.app_id) == (ORG, APP)


def test_a_public_key_checks_tokens_and_makes_none() -> None:
    private = ed25519.Ed25519PrivateKey.generate()
    in_one_line = public_pem(private).replace("\n", "\\n")
    rules = read_rules("EdDSA", in_one_line)
    made = make_token(
        read_rules("EdDSA", pem(private)), environment_id=ORG, app_id=None, now=NOW, lifetime=DAY
    )

    assert read_token(rules, made, NOW).key.environment_id == ORG
    with pytest.raises(ValueError, match="private key"):
        make_token(rules, environment_id=ORG, app_id=None, now=NOW, lifetime=DAY)


@pytest.mark.parametrize(
    ("algorithm", "secret", "said"),
    [
        ("HS256", "too short", "16 bytes or more"),
        ("RS256", SECRET, "PEM of an RSA key"),
        ("RS256", pem(ed25519.Ed25519PrivateKey.generate()), "PEM of an RSA key"),
        ("EdDSA", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----", "Ed25519 key"),
    ],
)
def test_a_secret_that_does_not_fit_is_refused(algorithm: str, secret: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_rules(algorithm, secret)


def test_a_token_written_otherwise_is_no_other_token() -> None:
    """The last letter of a signature has bits that say nothing: what is revoked stays so."""
    text = as_svix_makes_it()
    letters = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    otherwise = text[:-1] + letters[letters.index(text[-1]) ^ 1]

    try:
        name = read_token(RULES, otherwise, NOW).key.id
    except Unauthenticated:
        return
    assert name == read_token(RULES, text, NOW).key.id


def test_tokens_of_one_jti_are_one_and_tokens_that_are_made_differ() -> None:
    one, again = as_svix_makes_it(jti="a"), as_svix_makes_it(jti="a", iss="another")
    made = [
        make_token(RULES, environment_id=ORG, app_id=None, now=NOW, lifetime=DAY) for _ in range(2)
    ]

    names = [read_token(RULES, text, NOW).key.id for text in (one, again, *made)]
    assert names[0] == names[1]
    assert len(set(names)) == 3


def test_whoever_shows_the_secret_is_told_what_it_is() -> None:
    assert "jwt generate" in str(refuse(RULES, SECRET))
    assert "Incorrect" in str(refuse(RULES, "another"))
    assert "Incorrect" in str(refuse(None, SECRET))
    assert SECRET not in repr(RULES)
