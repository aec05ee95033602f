"""Signatures are what the published vectors say and what the reference verifiers accept."""

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
import svix.webhooks
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from signer.errors import NoSecret
from signer.secret import SecretKind, SigningSecret, generate, parse
from signer.standard import Check, Signer, verify

MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SENT_AT_S = 1614265330
BODY = b'{"test": 2432232314}'
ED25519_TEXT = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)

BODIES = [
    pytest.param(b'{"test":2432232314}', id="ascii"),
    pytest.param('{"name":"Zoë · 東京 🪝"}'.encode(), id="non-ascii"),
    pytest.param(b'{ "spaced" :\r\n  [ 1.0, 1e3 ] }\n', id="odd-spacing"),
    pytest.param(b'"' + b"x" * 300_000 + b'"', id="300-kB"),
]
REFERENCE_VERIFIERS = [
    pytest.param(standardwebhooks.Webhook, id="standardwebhooks"),
    pytest.param(svix.webhooks.Webhook, id="svix"),
]
Verifier = Callable[[str], Any]


def request_headers(signer: Signer, body: bytes, sent_at_s: int | None = None) -> dict[str, str]:
    # The reference verifiers look at the real clock.
    timestamp = int(time.time()) if sent_at_s is None else sent_at_s
    return {
        "webhook-id": MESSAGE_ID,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signer.sign(MESSAGE_ID, timestamp, body),
    }


@pytest.mark.parametrize(
    ("key", "message_id", "timestamp", "body", "signature"),
    [
        pytest.param(
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            MESSAGE_ID,
            SENT_AT_S,
            BODY,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            id="standard-webhooks",
        ),
        # Its key has 18 bytes, fewer than `parse` accepts, but signs like any other.
        pytest.param(
            "plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1731705121,
            b'{"event_type":"ping","data":{"success":true}}',
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
            id="ping",
        ),
    ],
)
def test_the_published_vectors_are_reproduced(
    key: str, message_id: str, timestamp: int, body: bytes, signature: str
) -> None:
    signer = Signer([SigningSecret(kind=SecretKind.HMAC256, key=b64decode(key))])

    made = signer.sign(message_id, timestamp, body)

    assert made == signature


def test_the_published_ed25519_key_signs_what_its_public_text_verifies() -> None:
    secret = parse(ED25519_TEXT)
    public_key = Ed25519PublicKey.from_public_bytes(
        b64decode(secret.public_text.removeprefix("whpk_"))
    )

    version, _, signature = Signer([secret]).sign(MESSAGE_ID, SENT_AT_S, BODY).partition(",")

    assert version == "v1a"
    public_key.verify(b64decode(signature), f"{MESSAGE_ID}.{SENT_AT_S}.".encode() + BODY)
    with pytest.raises(InvalidSignature):
        public_key.verify(b64decode(signature), f"{MESSAGE_ID}.{SENT_AT_S}.".encode() + BODY[1:])


@settings(deadline=None)  # the machine may be busy
@given(
    key=st.binary(min_size=24, max_size=75),
    message_id=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True),
    timestamp=st.integers(min_value=0, max_value=2**33),
    body=st.binary(max_size=500),
)
def test_a_symmetric_signature_is_the_hmac_of_the_standard_library(
    key: bytes, message_id: str, timestamp: int, body: bytes
) -> None:
    content = b".".join([message_id.encode(), str(timestamp).encode(), body])

    made = Signer([SigningSecret(kind=SecretKind.HMAC256, key=key)]).sign(
        message_id, timestamp, body
    )

    assert made == "v1," + b64encode(hmac.digest(key, content, "sha256")).decode()


@pytest.mark.parametrize("key_bytes", [24, 32, 63, 64, 65, 75])
def test_keys_on_either_side_of_the_hash_block_sign_like_the_standard_library(
    key_bytes: int,
) -> None:
    key = bytes(range(key_bytes))
    content = f"{MESSAGE_ID}.{SENT_AT_S}.".encode() + BODY

    made = Signer([SigningSecret(kind=SecretKind.HMAC256, key=key)]).sign(
        MESSAGE_ID, SENT_AT_S, BODY
    )

    assert made == "v1," + b64encode(hmac.digest(key, content, "sha256")).decode()


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("verifier", REFERENCE_VERIFIERS)
def test_the_reference_verifiers_accept_a_signature(verifier: Verifier, body: bytes) -> None:
    secret = generate()

    headers = request_headers(Signer([secret]), body)

    verifier(secret.text).verify(body, headers)


@pytest.mark.parametrize("verifier", REFERENCE_VERIFIERS)
def test_during_a_rotation_every_live_secret_verifies_and_a_dropped_one_does_not(
    verifier: Verifier,
) -> None:
    current, old, older, dropped = (generate() for _ in range(4))

    headers = request_headers(Signer([current, old, older]), BODY)

    for secret in (current, old, older):
        verifier(secret.text).verify(BODY, headers)
    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        verifier(dropped.text).verify(BODY, headers)


@pytest.mark.parametrize("verifier", REFERENCE_VERIFIERS)
def test_a_receiver_that_knows_only_v1_can_rotate_to_and_from_ed25519(verifier: Verifier) -> None:
    symmetric, asymmetric = generate(), generate(SecretKind.ED25519)

    for order in ([symmetric, asymmetric], [asymmetric, symmetric]):
        headers = request_headers(Signer(order), BODY)

        verifier(symmetric.text).verify(BODY, headers)


def test_the_current_secret_signs_first_and_tokens_are_parted_by_one_space() -> None:
    secrets = [generate(), generate(SecretKind.ED25519), generate()]

    made = Signer(secrets).sign(MESSAGE_ID, SENT_AT_S, BODY)

    alone = [Signer([secret]).sign(MESSAGE_ID, SENT_AT_S, BODY) for secret in secrets]
    assert made == " ".join(alone)
    assert [token.split(",")[0] for token in alone] == ["v1", "v1a", "v1"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"webhook-id": "msg_other"}, id="id"),
        pytest.param({"webhook-timestamp": str(int(time.time()) - 1)}, id="timestamp"),
        pytest.param({"webhook-signature": "v1," + b64encode(bytes(32)).decode()}, id="signature"),
        pytest.param({}, id="body"),
    ],
)
@pytest.mark.parametrize("verifier", REFERENCE_VERIFIERS)
def test_whatever_was_tampered_with_the_reference_verifiers_refuse_it(
    verifier: Verifier, change: dict[str, str]
) -> None:
    secret = generate()
    headers = request_headers(Signer([secret]), BODY, int(time.time()))

    tampered = {**headers, **change}
    body = BODY if change else BODY.replace(b"2", b"3", 1)

    with pytest.raises(standardwebhooks.webhooks.WebhookVerificationError):
        verifier(secret.text).verify(body, tampered)


def test_one_signer_serves_many_threads() -> None:
    signer = Signer([generate(), generate(SecretKind.ED25519)])
    bodies = [bytes([number]) * 8_192 for number in range(100)]

    with ThreadPoolExecutor(max_workers=4) as pool:
        made = list(pool.map(lambda body: signer.sign(MESSAGE_ID, SENT_AT_S, body), bodies))

    assert made == [signer.sign(MESSAGE_ID, SENT_AT_S, body) for body in bodies]


def test_a_signer_without_secrets_is_refused() -> None:
    with pytest.raises(NoSecret, match="at least one"):
        Signer([])


@pytest.mark.parametrize("kind", SecretKind)
def test_verify_accepts_what_was_signed_with_any_of_the_secrets(kind: SecretKind) -> None:
    old, new = generate(kind), generate(kind)

    headers = request_headers(Signer([old]), BODY, SENT_AT_S)

    assert verify([new, old], headers, BODY, now=SENT_AT_S + 1.5) is Check.VERIFIED
    assert verify([new], headers, BODY, now=SENT_AT_S + 1.5) is Check.NO_MATCH


def test_verify_accepts_what_the_reference_library_signs() -> None:
    secret = generate()
    library = standardwebhooks.Webhook(secret.text)
    sent_at = datetime.fromtimestamp(SENT_AT_S, tz=UTC)
    headers = request_headers(Signer([generate()]), BODY, SENT_AT_S)

    headers["webhook-signature"] = library.sign(MESSAGE_ID, sent_at, BODY.decode())

    assert verify([secret], headers, BODY, now=SENT_AT_S) is Check.VERIFIED


def test_verify_does_not_mind_the_case_of_header_names() -> None:
    secret = generate()

    headers = request_headers(Signer([secret]), BODY, SENT_AT_S)
    shouted = {name.upper(): value for name, value in headers.items()}

    assert verify([secret], shouted, BODY, now=SENT_AT_S) is Check.VERIFIED


@pytest.mark.parametrize(
    ("now", "check"),
    [
        (SENT_AT_S + 300, Check.VERIFIED),
        (SENT_AT_S + 300.1, Check.TOO_OLD),
        (SENT_AT_S - 300, Check.VERIFIED),
        (SENT_AT_S - 300.1, Check.TOO_NEW),
    ],
)
def test_verify_holds_to_its_tolerance_in_both_directions(now: float, check: Check) -> None:
    secret = generate()

    headers = request_headers(Signer([secret]), BODY, SENT_AT_S)

    assert verify([secret], headers, BODY, now=now) is check


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"webhook-id": ""}, Check.HEADERS_MISSING),
        ({"webhook-id": "msg_é"}, Check.HEADERS_MISSING),
        ({"webhook-signature": ""}, Check.HEADERS_MISSING),
        ({"webhook-timestamp": ""}, Check.HEADERS_MISSING),
        ({"webhook-timestamp": "soon"}, Check.TIMESTAMP_MALFORMED),
        ({"webhook-timestamp": "1614265330.0"}, Check.TIMESTAMP_MALFORMED),
        ({"webhook-timestamp": "+1614265330"}, Check.TIMESTAMP_MALFORMED),
        ({"webhook-timestamp": "01614265330"}, Check.TIMESTAMP_MALFORMED),
        ({"webhook-timestamp": "9" * 5_000}, Check.TIMESTAMP_MALFORMED),
        ({"webhook-timestamp": "1614265331"}, Check.NO_MATCH),
        ({"webhook-id": "msg_other"}, Check.NO_MATCH),
        ({"webhook-signature": "v1"}, Check.NO_MATCH),
        ({"webhook-signature": "v1, ,,  v1a,="}, Check.NO_MATCH),
    ],
)
def test_verify_says_why_it_refuses_and_never_raises(change: dict[str, str], check: Check) -> None:
    secret = generate()
    headers = request_headers(Signer([secret]), BODY, SENT_AT_S)

    headers.update(change)

    assert verify([secret], headers, BODY, now=SENT_AT_S) is check


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_verify_needs_all_three_headers(missing: str) -> None:
    secret = generate()
    headers = request_headers(Signer([secret]), BODY, SENT_AT_S)

    del headers[missing]

    assert verify([secret], headers, BODY, now=SENT_AT_S) is Check.HEADERS_MISSING


def test_verify_refuses_a_changed_body() -> None:
    secret = generate()

    headers = request_headers(Signer([secret]), BODY, SENT_AT_S)

    assert verify([secret], headers, BODY + b" ", now=SENT_AT_S) is Check.NO_MATCH
