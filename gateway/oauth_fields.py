"""How access tokens for an endpoint are got: read out of a body, sealed, shown without secrets."""

import re
from collections.abc import Mapping
from typing import Final

from gateway.body import Fields
from gateway.headers import SENSITIVE, read_headers
from gateway.parts import Parts
from schema.address import UrlFault, check_url
from schema.oauth import ASSERTION_S, Assertion, AuthMethod, GrantType, OauthConfig
from signer.certificate import read_rsa_key
from signer.errors import CertificateFault

MAX_CLIENT_ID: Final = 1_024
MAX_SECRET: Final = 4_096
MAX_REFRESH_TOKEN: Final = 8_192
MAX_KEY_ID: Final = 256
MAX_ASSERTION_S: Final = 3_600
MAX_SCOPES: Final = 100
MAX_PARAMS: Final = 64
MAX_PARAM: Final = 4_096
SCOPE_PATTERN: Final = re.compile(r"[!#-\[\]-~]{1,256}\Z", re.ASCII)  # RFC 6749, 3.3
ALGORITHMS: Final = ("RS256",)
MASK: Final = "***"
# What the request for a token says by itself.
_OURS: Final = frozenset(
    {"grant_type", "scope", "client_id", "client_secret", "refresh_token"}
    | {"client_assertion", "client_assertion_type"}
)
_SECRET_PARAM: Final = re.compile(r"secret|passw|token|assertion|key|credential", re.IGNORECASE)


def read_config(given: Parts, fields: Fields) -> tuple[OauthConfig | None, str | None]:
    """Read a configuration, and its refresh token; the caller checks the fields."""
    grant = _choice(fields, "grantType", tuple(GrantType))
    method = _choice(fields, "authMethod", tuple(AuthMethod))
    client_id = fields.text("clientId", min_length=1, max_length=MAX_CLIENT_ID)
    token_url = _read_url(given, fields)
    refresh_token = None
    if grant == GrantType.REFRESH_TOKEN:
        refresh_token = fields.text("refreshToken", min_length=1, max_length=MAX_REFRESH_TOKEN)
    secret, assertion = _read_proof(fields, method)
    scopes = fields.optional_texts(
        "scopes", pattern=SCOPE_PATTERN, min_items=0, max_items=MAX_SCOPES
    )
    params, headers = _read_params(fields), read_headers(fields, "extraHeaders")
    _check_headers(fields, method, headers)
    if fields.faults or grant is None or method is None:
        return None, None
    config = OauthConfig(
        grant_type=GrantType(grant),
        auth_method=AuthMethod(method),
        client_id=client_id,
        token_url=token_url,
        client_secret=secret,
        assertion=assertion,
        scopes=scopes,
        params=params,
        headers=headers,
    )
    return config, refresh_token


def show(config: OauthConfig) -> dict[str, object]:
    """Give what the API shows; of what looks like a secret, that it is there."""
    return {
        "grantType": config.grant_type,
        "authMethod": config.auth_method,
        "clientId": config.client_id,
        "tokenUrl": config.token_url,
        "scopes": config.scopes,
        "extraParams": {
            name: MASK if _SECRET_PARAM.search(name) else value
            for name, value in config.params.items()
        },
        "extraHeaders": {
            name: MASK if name.lower() in SENSITIVE or _SECRET_PARAM.search(name) else value
            for name, value in config.headers.items()
        },
    }


def _choice(fields: Fields, name: str, words: tuple[str, ...]) -> str | None:
    fields.require(name)
    return fields.optional_choice(name, choices=[str(word) for word in words])


def _read_url(given: Parts, fields: Fields) -> str:
    text = fields.text("tokenUrl", min_length=1)
    if not text:
        return ""
    try:
        return check_url(text, given.config.address_policy).text
    except UrlFault as fault:
        fields.fault("tokenUrl", str(fault))
        return ""


def _read_proof(fields: Fields, method: str | None) -> tuple[str | None, Assertion | None]:
    """Read what proves to the authorization server who we are."""
    if method in {AuthMethod.SECRET_BASIC, AuthMethod.SECRET_POST}:
        return fields.text("clientSecret", min_length=1, max_length=MAX_SECRET), None
    if method == AuthMethod.SECRET_JWT:
        fields.require("jwtParams")
        said = fields.raw("jwtParams")
        return None, None if said is None else _read_assertion(fields, Fields(said, *_JWT))
    return None, None


_JWT: Final = ("body", "jwtParams")


def _read_assertion(fields: Fields, jwt: Fields) -> Assertion | None:
    _choice(jwt, "signingAlgorithm", ALGORITHMS)
    encoded, key = jwt.text("secretBase64", min_length=1), b""
    key_id = jwt.optional_text("secretId", min_length=1, max_length=MAX_KEY_ID)
    lifetime_s = jwt.optional_integer("tokenExpirySecs", minimum=1, maximum=MAX_ASSERTION_S)
    try:
        key = read_rsa_key(encoded) if encoded else b""
    except CertificateFault as fault:
        jwt.fault("secretBase64", str(fault))
    fields.faults.extend(jwt.faults)
    return Assertion(key=key.decode(), key_id=key_id, lifetime_s=lifetime_s or ASSERTION_S)


def _read_params(fields: Fields) -> dict[str, str]:
    params = fields.text_map("extraParams")
    if len(params) > MAX_PARAMS:
        fields.fault("extraParams", f"at most {MAX_PARAMS} expected")
    for name, value in params.items():
        if name in _OURS:
            fields.fault("extraParams", f"{name} is set by the request itself")
        elif not name or len(name) + len(value) > MAX_PARAM:
            fields.fault("extraParams", f"a name and its value have 1 to {MAX_PARAM} characters")
        elif value == MASK:
            fields.fault("extraParams", f"{MASK} stands for what is not shown: give the value")
    return params


def _check_headers(fields: Fields, method: str | None, headers: Mapping[str, str]) -> None:
    if MASK in headers.values():
        fields.fault("extraHeaders", f"{MASK} stands for what is not shown: give the value")
    if method == AuthMethod.SECRET_BASIC and "authorization" in {n.lower() for n in headers}:
        fields.fault("extraHeaders", "Authorization is set by clientSecretBasic itself")
