"""A gateway with an environment of a test's own, and tenants whose deliveries were given up."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime

import httpx

from schema import ids
from schema.api_key import ALL_SCOPES
from schema.delivery import State
from schema.store.link import Link
from tests import rows
from tests.gateway_server import Gateway, make_environment, make_key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An app with two endpoints, and a connection to put rows with."""

    environment_id: str
    app_id: str
    uid: str
    endpoint_id: str
    other_id: str
    link: Link

    async def parked(self, at: datetime | None = None, **other: object) -> str:
        """Store a message that was given up for the endpoint; give its letter."""
        endpoint_id = str(other.pop("endpoint_id", self.endpoint_id))
        message_id = await rows.message(self.link, self.app_id, at)
        await rows.delivery(
            self.link, self.app_id, message_id, endpoint_id, State.DEAD,
            attempts=10, failures=10, reason="exhausted",
        )  # fmt: skip
        return await rows.letter(self.link, self.app_id, message_id, endpoint_id, at, **other)

    async def audited(self, action: str) -> list[dict[str, object]]:
        """Give what the audit trail says of an action in this environment."""
        found = await self.link.fetch(
            "SELECT * FROM audit WHERE action = $1 AND environment_id = $2 ORDER BY id",
            action, self.environment_id,
        )  # fmt: skip
        return [dict(row) for row in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What an operator of an environment works with."""

    gateway: Gateway
    http: httpx.AsyncClient
    link: Link

    async def tenant(self, uid: str = "one") -> Tenant:
        """Make an app with two endpoints."""
        at = rows.now()
        app_id = ids.new_id(ids.APP, at)
        await self.link.execute(
            """INSERT INTO app (environment_id, id, uid, name, created_at, updated_at)
               VALUES ($1, $2, $3, $3, $4, $4)""",
            self.gateway.environment_id, app_id, uid, at,
        )  # fmt: skip
        made = [await rows.endpoint(self.link, app_id, uid=uid) for uid in ("e1", "e2")]
        return Tenant(
            environment_id=self.gateway.environment_id,
            app_id=app_id,
            uid=uid,
            endpoint_id=made[0],
            other_id=made[1],
            link=self.link,
        )


@asynccontextmanager
async def at_desk(shared: Gateway) -> AsyncIterator[Desk]:
    """Lend an environment of one's own, with a key that may do everything."""
    environment_id = await make_environment(shared.pool)
    key = await make_key(shared.pool, environment_id, scopes=(ALL_SCOPES,))
    async with shared.pool.acquire() as link, AsyncExitStack() as clients:
        gateway = replace(shared, environment_id=environment_id, key=key, clients=clients)
        yield Desk(gateway=gateway, http=gateway.http(), link=link)
