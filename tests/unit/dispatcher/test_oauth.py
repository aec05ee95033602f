"""What a request for an access token says, and what its answers mean."""

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import jwt
import orjson
import pytest

from dispatcher.fault import DeliveryFault, Phases
from dispatcher.oauth import OauthClient, read, request
from dispatcher.post import Reply
from schema.address import AddressPolicy, check_url
from schema.oauth import Assertion, AuthMethod, GrantType, OauthConfig
from schema.store.endpoint_oauth import Place
from tests.certificates import key_pem, new_key

URL = check_url("https://auth.example.com/token?tenant=a%20b", AddressPolicy())
KEY = new_key("rsa2048")
NOW_S = 2_000_000_000
SAID: dict[str, Any] = {"access_token": "t0k", "token_type": "Bearer", "expires_in": 3_600}


def asked(
    method: AuthMethod, grant: GrantType = GrantType.CLIENT_CREDENTIALS, **changes: Any
) -> tuple[dict[str, str], dict[str, list[str]], bytes]:
    """Give the headers, the fields and the first line of a request."""
    usual = {"client_id": "a client:1", "token_url": URL.text, "client_secret": "s&cr:t \u00e9"}
    config = OauthConfig(grant_type=grant, auth_method=method, **(usual | changes))
    client = OauthClient(place=Place("app_1", "ep_1", 1), config=config, url=URL)
    head, body = request(client, URL, "r3fresh+", ident="once", now_s=NOW_S)
    first, *lines = head.removesuffix(b"\r\n").split(b"\r\n")
    headers = dict(line.decode().split(": ", 1) for line in lines)
    return headers, parse_qs(body.decode(), strict_parsing=True), first


def test_basic_says_the_client_and_its_secret_in_a_header_alone() -> None:
    headers, fields, first = asked(AuthMethod.SECRET_BASIC)

    kind, _, said = headers.pop("Authorization").partition(" ")
    assert (kind, base64.b64decode(said)) == ("Basic", b"a+client%3A1:s%26cr%3At+%C3%A9")
    assert fields == {"grant_type": ["client_credentials"]}
    assert first == b"POST /token?tenant=a%20b HTTP/1.1"
    assert headers == {
        "Host": "auth.example.com",
        "Accept-Encoding": "identity",
        "User-Agent": "Hookline/0.1",
        "Accept": "application/json",
        "Content-Type": "application/x-www-form-urlencoded",
    }


def test_post_says_them_in_the_body_alone() -> None:
    headers, fields, _ = asked(AuthMethod.SECRET_POST)

    assert "Authorization" not in headers
    assert fields == {
        "grant_type": ["client_credentials"],
        "client_id": ["a client:1"],
        "client_secret": ["s&cr:t \u00e9"],
    }


def test_jwt_says_an_assertion_for_the_token_url() -> None:
    assertion = Assertion(key=key_pem(KEY), key_id="k1", lifetime_s=60)

    headers, fields, _ = asked(AuthMethod.SECRET_JWT, assertion=assertion)

    assert "Authorization" not in headers
    [said] = fields.pop("client_assertion")
    claims = jwt.decode(
        said, KEY.public_key(), ["RS256"], audience=URL.text, options={"verify_iat": False}
    )
    assert (claims["sub"], claims["jti"], claims["exp"]) == ("a client:1", "once", NOW_S + 60)
    assert jwt.get_unverified_header(said)["kid"] == "k1"
    assert fields == {
        "grant_type": ["client_credentials"],
        "client_id": ["a client:1"],
        "client_assertion_type": ["urn:ietf:params:oauth:client-assertion-type:jwt-bearer"],
    }


def test_a_refresh_token_is_said_by_the_grant_of_that_name_alone() -> None:
    _, fields, _ = asked(AuthMethod.SECRET_BASIC, GrantType.REFRESH_TOKEN, scopes=("a", "b:c"))

    assert fields == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["r3fresh+"],
        "scope": ["a b:c"],
    }


def test_more_may_be_said_but_not_instead_of_what_the_request_is() -> None:
    headers, fields, _ = asked(
        AuthMethod.SECRET_POST,
        params={"audience": "hooks & more", "grant_type": "password"},
        headers={"accept": "application/xml", "X-Realm": "one", "Host": "evil.example.com"},
    )

    assert (fields["audience"], fields["grant_type"]) == (["hooks & more"], ["client_credentials"])
    assert (headers["X-Realm"], headers["accept"]) == ("one", "application/xml")
    assert headers["Host"] == "auth.example.com"
    assert "Accept" not in headers


def a_reply(
    said: object = None,
    *,
    status: int = 200,
    body: bytes | None = None,
    truncated: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    return Reply(
        status,
        [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        orjson.dumps(said) if body is None else body,
        truncated,
        Phases(),
        "192.0.2.1",
        False,  # noqa: FBT003 a tuple's field
        None,
    )


@pytest.mark.parametrize(
    ("expires_in", "lives_s"),
    [
        *[(3_600, 3_570), (60, 54), ("600", 570), (1e9, 86_370), (1, 1), (0, 1), (-5, 1)],
        *[(2.5, 2.25), (None, 270), ("soon", 270), (True, 270), ([], 270)],
    ],
)
def test_a_token_is_used_until_shortly_before_its_end(expires_in: object, lives_s: float) -> None:
    granted = read(a_reply(SAID | {"expires_in": expires_in}))

    assert granted.lives_s == pytest.approx(lives_s)
    assert granted.line == b"Authorization: Bearer t0k\r\n"
    assert granted.refresh_token is None


def test_an_answer_may_be_scant_and_bring_another_refresh_token() -> None:
    assert read(a_reply({"access_token": "t0k"})).lives_s == 270
    assert read(a_reply(SAID | {"token_type": "bearer"})).line.endswith(b"Bearer t0k\r\n")
    assert read(a_reply(SAID | {"refresh_token": "next"}, status=201)).refresh_token == "next"
    assert read(a_reply(SAID | {"refresh_token": ""})).refresh_token is None
    assert read(a_reply(SAID | {"refresh_token": 7})).refresh_token is None


GAVE = "no access token: the authorization server gave an answer "
ANSWERED = "no access token: the authorization server answered "
UNUSABLE = {
    "text": (a_reply(body=b"<html>"), GAVE + "that is no JSON object, or is too large"),
    "list": (a_reply([]), GAVE + "that is no JSON object, or is too large"),
    "large": (a_reply(SAID, truncated=True), GAVE + "that is no JSON object, or is too large"),
    "empty": (a_reply({}), GAVE + "without a token that can be sent"),
    "number": (a_reply({"access_token": 1}), GAVE + "without a token that can be sent"),
    "break": (
        a_reply(SAID | {"access_token": "a\r\nEvil: 1"}),
        GAVE + "without a token that can be sent",
    ),
    "long": (
        a_reply(SAID | {"access_token": "a" * 8_193}),
        GAVE + "without a token that can be sent",
    ),
    "kind": (a_reply(SAID | {"token_type": "DPoP"}), GAVE + "whose token is no bearer token"),
    "redirect": (a_reply(status=302), ANSWERED + "302"),
    "refused": (
        a_reply({"error": "invalid_client", "error_description": "s3cret"}, status=401),
        ANSWERED + "401, invalid_client",
    ),
    "talkative": (a_reply({"error": "bad s3cret!"}, status=400), ANSWERED + "400"),
    "page": (a_reply(body=b"Bad Gateway", status=502), ANSWERED + "502"),
}


@pytest.mark.parametrize(("reply", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_without_a_usable_token_is_a_fault_that_says_why(reply: Reply, said: str) -> None:
    with pytest.raises(DeliveryFault) as fault:
        read(reply)

    assert (fault.value.kind, fault.value.detail) == ("oauth", said)
    assert "s3cret" not in said


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("soon", None), ("-1", None), ("9" * 12, None)]
)
def test_a_server_may_say_when_to_ask_again(value: str, seconds: float | None) -> None:
    with pytest.raises(DeliveryFault) as fault:
        read(a_reply({}, status=429, headers={"Retry-After": value}))

    assert fault.value.retry_after_s == seconds


def test_what_a_configuration_says_of_itself_holds_no_secret() -> None:
    config = OauthConfig(
        grant_type=GrantType.CLIENT_CREDENTIALS,
        auth_method=AuthMethod.SECRET_BASIC,
        client_id="c",
        token_url=URL.text,
        client_secret="s3cret",
        assertion=Assertion(key="s3cret"),
        params={"a": "s3cret"},
        headers={"a": "s3cret"},
    )

    assert "s3cret" not in repr(OauthClient(place=Place("a", "e", 1), config=config, url=URL))
    assert "s3cret" not in repr(config)
    assert OauthConfig.load(config.dump()) == config


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"grant_type": "other"}', b"null"])
def test_what_is_no_configuration_is_not_read(document: bytes) -> None:
    with pytest.raises(ValueError, match=r"read|Expecting"):
        OauthConfig.load(document)
