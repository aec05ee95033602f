"""How the dispatcher gets access tokens for an endpoint (OAuth 2.0). Words are stored, and Svix's.

A configuration is stored as one sealed JSON document, as most of it is secret. The refresh token
stands apart: it may change with each token that it brings. Pure.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

CONTEXT: Final = "oauth"  # of the sealed document, behind the endpoint's own
REFRESH_CONTEXT: Final = "refresh"
ASSERTION_S: Final = 300  # how long an assertion counts, if nobody says otherwise


class GrantType(StrEnum):
    """What a token is asked for with."""

    CLIENT_CREDENTIALS = "clientCredentials"
    REFRESH_TOKEN = "refreshToken"  # noqa: S105 a word


class AuthMethod(StrEnum):
    """How we prove to the authorization server who we are."""

    SECRET_JWT = "clientSecretJwt"  # noqa: S105 a word
    SECRET_BASIC = "clientSecretBasic"  # noqa: S105 a word
    SECRET_POST = "clientSecretPost"  # noqa: S105 a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """What signs assertions: an RSA private key as PEM, and how it is named."""

    key: str = field(repr=False)
    key_id: str | None = None
    lifetime_s: int = ASSERTION_S


@dataclass(frozen=True, slots=True, kw_only=True)
class OauthConfig:
    """A client of an authorization server.

    Attributes:
        client_secret: For `SECRET_BASIC` and `SECRET_POST`.
        assertion: For `SECRET_JWT`.
        params: Sent in the body as well.
        headers: Sent with the request as well.
    """

    grant_type: GrantType
    auth_method: AuthMethod
    client_id: str
    token_url: str
    client_secret: str | None = field(default=None, repr=False)
    assertion: Assertion | None = None
    scopes: tuple[str, ...] | None = None
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def dump(self) -> bytes:
        """Write it down, to be sealed."""
        said = self.assertion
        document = {
            "grant_type": self.grant_type,
            "auth_method": self.auth_method,
            "client_id": self.client_id,
            "token_url": self.token_url,
            "client_secret": self.client_secret,
            "assertion": said and [said.key, said.key_id, said.lifetime_s],
            "scopes": self.scopes,
            "params": dict(self.params),
            "headers": dict(self.headers),
        }
        return json.dumps(document, separators=(",", ":")).encode()

    @classmethod
    def load(cls, document: bytes) -> Self:
        """Read what `dump` wrote.

        Raises:
            ValueError: It did not write that.
        """
        try:
            found: dict[str, Any] = json.loads(document)
            said, scopes = found["assertion"], found["scopes"]
            return cls(
                grant_type=GrantType(found["grant_type"]),
                auth_method=AuthMethod(found["auth_method"]),
                client_id=found["client_id"],
                token_url=found["token_url"],
                client_secret=found["client_secret"],
                assertion=said and Assertion(key=said[0], key_id=said[1], lifetime_s=said[2]),
                scopes=None if scopes is None else tuple(scopes),
                params=found["params"],
                headers=found["headers"],
            )
        except (LookupError, TypeError) as error:
            raise ValueError("the OAuth configuration cannot be read") from error
