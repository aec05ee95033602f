"""Requests for access tokens, and what their answers mean (RFC 6749, 7521, 7523). Pure.

Of an authorization server's own words only the code of its error is ever shown: the rest may repeat
what we sent.
"""

import re
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final, NamedTuple
from urllib.parse import quote_plus, urlencode

import orjson

from dispatcher.fault import DeliveryFault
from dispatcher.post import Reply
from dispatcher.tls import Tls
from dispatcher.transport import header_lines, request_head
from schema.address import EndpointUrl
from schema.delivery import is_success
from schema.endpoint import SENT_ALWAYS
from schema.oauth import AuthMethod, GrantType, OauthConfig
from schema.store.endpoint_oauth import Place
from signer.assertion import KIND, client_assertion

LIFETIME_S: Final = 300.0  # of a token whose answer does not say it
LIFETIME_MOST_S: Final = 86_400.0
LIFETIME_LEAST_S: Final = 1.0
EARLY_S: Final = 30.0  # before its end a token is used no more; of a short life, a tenth of it
MAX_TOKEN_CHARS: Final = 8_192
_TOKEN: Final = re.compile(r"[!-~]+")
_CODE: Final = re.compile(r"[A-Za-z_.-]{1,64}")
_SECONDS: Final = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OauthClient:
    """An endpoint's way to access tokens, made ready.

    Attributes:
        url: Where they are asked for; None where that is not allowed, which `fault` says.
        tls: As the endpoint's own, where it is the same server.
    """

    place: Place
    config: OauthConfig = field(repr=False)
    url: EndpointUrl | None
    tls: Tls | None = None
    fault: str = ""


class Granted(NamedTuple):
    """What an authorization server gave.

    Attributes:
        line: The header that a request has by it.
        lives_s: For how long it may be used, from the request for it.
        refresh_token: What the next is asked for with, if it gave one.
    """

    line: bytes
    lives_s: float
    refresh_token: str | None


def request(
    client: OauthClient, url: EndpointUrl, refresh_token: str | None, *, ident: str, now_s: int
) -> tuple[bytes, bytes]:
    """Write a request's head, as a `Post` has it, and its body.

    Args:
        client: Whose.
        url: Where to.
        refresh_token: Of the grant of that name.
        ident: Never used before.
        now_s: The Unix time.
    """
    config = client.config
    fields = dict(config.params)
    if config.grant_type is GrantType.REFRESH_TOKEN:
        fields |= {"grant_type": "refresh_token", "refresh_token": refresh_token or ""}
    else:
        fields["grant_type"] = "client_credentials"
    if config.scopes:
        fields["scope"] = " ".join(config.scopes)
    headers = dict(config.headers)
    match config.auth_method:
        case AuthMethod.SECRET_BASIC:
            headers["Authorization"] = _basic(config.client_id, config.client_secret or "")
        case AuthMethod.SECRET_POST:
            fields |= {"client_id": config.client_id, "client_secret": config.client_secret or ""}
        case AuthMethod.SECRET_JWT:
            fields |= _asserted(config, ident=ident, now_s=now_s)
    sent = dict(SENT_ALWAYS) | {"Accept": "application/json"}
    named = {name.lower() for name in headers}
    sent = {name: value for name, value in sent.items() if name.lower() not in named}
    sent |= headers | {"Content-Type": "application/x-www-form-urlencoded"}
    head = request_head(url, [(n.encode("ascii"), v.encode("latin-1")) for n, v in sent.items()])
    return head, urlencode(fields).encode("ascii")


def read(reply: Reply) -> Granted:
    """Say what an answer gives.

    Raises:
        DeliveryFault: Nothing that could be used.
    """
    if not is_success(reply.status):
        raise _refused(reply)
    found = None if reply.truncated else _parsed(reply.body)
    if found is None:
        raise _unusable("that is no JSON object, or is too large")
    kind, token = found.get("token_type", "Bearer"), found.get("access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise _unusable("whose token is no bearer token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or len(token) > MAX_TOKEN_CHARS:
        raise _unusable("without a token that can be sent")
    refresh = found.get("refresh_token")
    return Granted(
        line=header_lines([(b"Authorization", f"Bearer {token}".encode("ascii"))]),
        lives_s=_lives_s(found.get("expires_in")),
        refresh_token=refresh if isinstance(refresh, str) and refresh else None,
    )


def no_token(detail: str) -> DeliveryFault:
    """Give the fault of an attempt that had no token."""
    return DeliveryFault("oauth", f"no access token: {detail}")


def _basic(client_id: str, secret: str) -> str:
    """Write both as RFC 6749, 2.3.1 has them: encoded as in forms, then as in Basic."""
    both = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + b64encode(both.encode("ascii")).decode("ascii")


def _asserted(config: OauthConfig, *, ident: str, now_s: int) -> dict[str, str]:
    said = config.assertion
    if said is None:
        raise no_token("there is no key for the client's assertions")
    assertion = client_assertion(
        said.key.encode(),
        client_id=config.client_id,
        audience=config.token_url,
        ident=ident,
        now_s=now_s,
        lifetime_s=said.lifetime_s,
        key_id=said.key_id,
    )
    return {
        "client_id": config.client_id,
        "client_assertion_type": KIND,
        "client_assertion": assertion,
    }


def _refused(reply: Reply) -> DeliveryFault:
    code = (_parsed(reply.body) or {}).get("error")
    said = f", {code}" if isinstance(code, str) and _CODE.fullmatch(code) else ""
    fault = no_token(f"the authorization server answered {reply.status}{said}")
    for name, value in reply.headers:
        if name.lower() == b"retry-after" and _SECONDS.fullmatch(value.decode("latin-1")):
            fault.retry_after_s = float(value)
    return fault


def _unusable(why: str) -> DeliveryFault:
    return no_token(f"the authorization server gave an answer {why}")


def _parsed(body: bytes) -> dict[str, object] | None:
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def _lives_s(said: object) -> float:
    """Read for how long a token counts; some servers say it as a text."""
    if isinstance(said, str) and _SECONDS.fullmatch(said):
        said = int(said)
    if isinstance(said, bool) or not isinstance(said, int | float):
        said = LIFETIME_S
    whole_s = min(float(said), LIFETIME_MOST_S)
    return max(whole_s - min(EARLY_S, whole_s / 10), LIFETIME_LEAST_S)
