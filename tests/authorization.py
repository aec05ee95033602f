"""An authorization server that tests script, and endpoints that get their tokens from it.

async with AuthorizationServer() as server:
    await set_oauth(world, app_id, endpoint_id, server)
    server.script("/token", server.giving())  # which it does anyway
    ...
    assert server.forms[0]["grant_type"] == "client_credentials"
"""

import asyncio
import itertools
import json
from typing import Any
from urllib.parse import parse_qsl

from schema.endpoint import secret_context
from schema.oauth import CONTEXT, REFRESH_CONTEXT, AuthMethod, GrantType, OauthConfig
from schema.store import endpoint_oauth
from schema.store.link import Pool
from tests.dispatching import VAULT, now
from tests.receiver import Behaviour, Received, Receiver, Writer, answer

JSON = {"Content-Type": "application/json"}
PATH = "/token"


class AuthorizationServer(Receiver):
    """Gives tokens t1, t2 and so on, one for each request, until it is scripted otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)
        self.script(PATH, self.giving())

    @property
    def token_url(self) -> str:
        return self.url(PATH)

    @property
    def forms(self) -> list[dict[str, str]]:
        """Give what was asked, request by request."""
        return [dict(parse_qsl(request.body.decode())) for request in self.requests]

    def giving(self, *, rotating: bool = False, **fields: Any) -> Behaviour:
        """Give a token; if `rotating`, with r1, r2 and so on to ask for the next with."""

        async def behave(_: Received, writer: Writer) -> None:
            number = next(self._numbers)
            said = {"access_token": f"t{number}", "token_type": "Bearer", "expires_in": 3_600}
            if rotating:
                said["refresh_token"] = f"r{number}"
            await writer.answer(200, JSON, json.dumps(said | fields).encode())

        return behave


def refusing(status: int = 400, error: str = "invalid_client", **headers: str) -> Behaviour:
    """Refuse every request."""
    return answer(status, JSON | headers, json.dumps({"error": error}).encode())


class Held:
    """Behaves like another once it is let go."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.gate = asyncio.Event()

    async def __call__(self, received: Received, writer: Writer) -> None:
        await self.gate.wait()
        await self._behaviour(received, writer)


def a_config(token_url: str, **changes: Any) -> OauthConfig:
    usual: dict[str, Any] = {
        "grant_type": GrantType.CLIENT_CREDENTIALS,
        "auth_method": AuthMethod.SECRET_POST,
        "client_id": "hookline",
        "client_secret": "s3cret",
        "token_url": token_url,
    }
    return OauthConfig(**(usual | changes))


async def set_oauth(
    pool: Pool,
    app_id: str,
    endpoint_id: str,
    token_url: str,
    *,
    refresh_token: str | None = None,
    **changes: Any,
) -> None:
    """Set how an endpoint's tokens are got, as the gateway does."""
    if refresh_token is not None:
        changes["grant_type"] = GrantType.REFRESH_TOKEN
    context = secret_context(app_id, endpoint_id, CONTEXT)
    refreshed = secret_context(app_id, endpoint_id, REFRESH_CONTEXT)
    async with pool.acquire() as link:
        await endpoint_oauth.put(
            link,
            app_id,
            endpoint_id,
            config=VAULT.seal(a_config(token_url, **changes).dump(), context=context),
            refresh_token=None
            if refresh_token is None
            else VAULT.seal(refresh_token.encode(), context=refreshed),
            now=now(),
        )


async def kept_refresh_token(pool: Pool, app_id: str, endpoint_id: str) -> tuple[str, int]:
    """Give the refresh token at rest, opened, and how many came before it."""
    row = await pool.fetchrow(
        "SELECT * FROM endpoint_oauth WHERE app_id = $1 AND endpoint_id = $2", app_id, endpoint_id
    )
    assert row is not None
    context = secret_context(app_id, endpoint_id, REFRESH_CONTEXT)
    return VAULT.open(row["refresh_token"], context=context).decode(), row["rotation"]
