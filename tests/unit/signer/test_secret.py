"""The text of a secret is understood exactly, written back as it was, and never shown by error."""

from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signer.errors import SecretFault, SignerError
from signer.secret import SecretKind, SigningSecret, generate, parse

ED25519_TEXT = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)
ED25519_PUBLIC_TEXT = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


def symmetric_text(key_bytes: int) -> str:
    return "whsec_" + b64encode(bytes(range(key_bytes))).decode()


def test_the_published_ed25519_secret_is_shown_as_its_public_key() -> None:
    secret = parse(ED25519_TEXT)

    assert secret.kind is SecretKind.ED25519
    assert secret.public_text == ED25519_PUBLIC_TEXT
    assert secret.text == ED25519_TEXT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("whsec_C2FVsBQIhrscChlQIM+b5sSYspob", "this one has 21", id="21-bytes"),
        pytest.param(symmetric_text(76), "this one has 76", id="76-bytes"),
        pytest.param("hwsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "unknown prefix", id="hwsec"),
    ],
)
def test_the_published_invalid_secrets_are_refused(text: str, message: str) -> None:
    with pytest.raises(SecretFault, match=message):
        parse(text)


@pytest.mark.parametrize("key_bytes", [24, 32, 64, 75])
def test_a_symmetric_secret_has_24_to_75_bytes(key_bytes: int) -> None:
    text = symmetric_text(key_bytes)

    secret = parse(text)

    assert secret == SigningSecret(kind=SecretKind.HMAC256, key=bytes(range(key_bytes)))
    assert secret.text == secret.public_text == text


def test_base64_without_a_prefix_is_a_symmetric_secret() -> None:
    bare = parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    assert bare == parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert bare.text == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@settings(deadline=None)  # the machine may be busy
@given(key=st.binary(min_size=24, max_size=75))
def test_any_symmetric_key_survives_its_text(key: bytes) -> None:
    secret = SigningSecret(kind=SecretKind.HMAC256, key=key)

    assert parse(secret.text) == secret
    assert parse(secret.text.removeprefix("whsec_")) == secret


@settings(deadline=None)  # the machine may be busy
@given(
    text=st.text(max_size=120)
    | st.from_regex(r"(whsec_|whsk_)?[A-Za-z0-9+/]{30,44}=?=?", fullmatch=True)
)
def test_text_is_either_refused_or_written_back_as_it_was(text: str) -> None:
    try:
        secret = parse(text)
    except SecretFault:
        return

    assert secret.text in (text, "whsec_" + text)


@pytest.mark.parametrize("kind", SecretKind)
def test_a_generated_secret_survives_its_text_and_is_new_each_time(kind: SecretKind) -> None:
    made = [generate(kind) for _ in range(20)]

    assert len({secret.text for secret in made}) == len(made)
    assert [parse(secret.text) for secret in made] == made
    assert {secret.kind for secret in made} == {kind}


def test_a_secret_is_symmetric_with_32_bytes_unless_asked_otherwise() -> None:
    secret = generate()

    assert secret.kind is SecretKind.HMAC256
    assert len(secret.key) == len(b64decode(secret.text.removeprefix("whsec_"))) == 32


@pytest.mark.parametrize("kind", SecretKind)
def test_printing_a_secret_does_not_show_it(kind: SecretKind) -> None:
    secret = generate(kind)

    shown = f"{secret} {secret!r} {[secret]}"

    assert kind.value in shown
    assert secret.text.partition("_")[2][:8] not in shown
    assert repr(secret.key)[2:12] not in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "24 to 75 bytes, this one has 0"),
        ("whsec_", "24 to 75 bytes, this one has 0"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS", "not standard, padded base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMQ=", "not standard, padded base64"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMR==", "not standard, padded base64"),
        ("whsec_MfKQ9r8GKYqrTwjU-D8ILPZIo2LaLaSw", "not standard, padded base64"),
        ("whsec_MfKQ9r8GKYqrTwjU_D8ILPZIo2LaLaSw", "unknown prefix"),
        (" whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "unknown prefix"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", "not standard, padded base64"),
        ("whsec_МfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "not standard, padded base64"),  # noqa: RUF001
        ("whsec_whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "unknown prefix"),
        ("WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "unknown prefix"),
        (ED25519_PUBLIC_TEXT, "public key .* give the secret key"),
        ("whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "64 bytes .* not 24"),
        ("whsk_" + b64encode(bytes(64)).decode(), "does not belong"),
        ("whsk_" + b64encode(bytes(65)).decode(), "64 bytes .* not 65"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(text: str, message: str) -> None:
    with pytest.raises(SecretFault, match=message):
        parse(text)


@settings(deadline=None)  # the machine may be busy
@given(
    prefix=st.sampled_from(["", "whsec_", "whsk_", "whpk_", "hwsec_"]),
    encoded=st.from_regex(r"[A-Za-z0-9+/_-]{12,23}[!=]{0,2}", fullmatch=True),
)
def test_a_refusal_never_repeats_the_secret(prefix: str, encoded: str) -> None:
    with pytest.raises(SecretFault) as refusal:
        parse(prefix + encoded)

    assert encoded not in str(refusal.value)
    assert refusal.value.__cause__ is None
    assert refusal.value.__suppress_context__ or refusal.value.__context__ is None


def test_a_refused_secret_is_a_value_error_of_the_signers_own_tree() -> None:
    with pytest.raises(ValueError, match="unknown prefix") as refusal:
        parse("hwsec_")

    assert isinstance(refusal.value, SignerError)
