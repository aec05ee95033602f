"""Assertions of clients are JWTs that another library verifies."""

import jwt
import pytest

from signer.assertion import client_assertion
from signer.errors import SecretFault
from tests.certificates import key_pem, new_key

KEY = new_key("rsa2048")
SAID = {
    "client_id": "hookline \u00e9",
    "audience": "https://auth.example.com/token",
    "ident": "once",
    "now_s": 2_000_000_000,
    "lifetime_s": 300,
}


@pytest.mark.parametrize("key_id", [None, "k1"])
def test_an_assertion_says_who_to_whom_and_until_when(key_id: str | None) -> None:
    made = client_assertion(key_pem(KEY).encode(), key_id=key_id, **SAID)

    claims = jwt.decode(
        made, KEY.public_key(), ["RS256"], audience="https://auth.example.com/token",
        options={"verify_iat": False},
    )  # fmt: skip
    assert claims == {
        "iss": "hookline \u00e9",
        "sub": "hookline \u00e9",
        "aud": "https://auth.example.com/token",
        "jti": "once",
        "iat": 2_000_000_000,
        "exp": 2_000_000_300,
    }
    assert jwt.get_unverified_header(made).get("kid") == key_id


def test_a_key_of_another_kind_signs_nothing() -> None:
    with pytest.raises(SecretFault, match="no RSA key"):
        client_assertion(key_pem(new_key()).encode(), **SAID)
