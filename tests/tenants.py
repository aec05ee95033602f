"""Tenants of a gateway, with what was delivered to them, or not, put straight into the tables."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schema import ids
from schema.delivery import State
from schema.store.link import Link
from tests import rows
from tests.gateway_server import Gateway, another_environment


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An app with two endpoints, and a connection to put rows with."""

    environment_id: str
    app_id: str
    uid: str
    endpoint_id: str
    other_id: str
    link: Link

    async def owed(self, state: State, *, at: datetime | None = None, **other: Any) -> str:
        """Store a message with a delivery to the endpoint; give the message."""
        message_id = await rows.message(self.link, self.app_id, at)
        await rows.delivery(self.link, self.app_id, message_id, self.endpoint_id, state, **other)
        return message_id

    async def tried(self, message_id: str, status: int | None = 200, **other: Any) -> str:
        """Store an attempt of a message at the endpoint."""
        return await rows.attempt(
            self.link, self.app_id, message_id, self.endpoint_id, status, **other
        )

    async def parked(self, at: datetime | None = None, **other: Any) -> str:
        """Store a message that was given up for the endpoint; give its letter."""
        endpoint_id = str(other.pop("endpoint_id", self.endpoint_id))
        message_id = await rows.message(self.link, self.app_id, at)
        await rows.delivery(
            self.link, self.app_id, message_id, endpoint_id, State.DEAD,
            attempts=10, failures=10, reason="exhausted",
        )  # fmt: skip
        return await rows.letter(self.link, self.app_id, message_id, endpoint_id, at, **other)

    async def letter(self, ident: str) -> dict[str, object]:
        """Give the row of a letter."""
        row = await self.link.fetchrow("SELECT * FROM dead_letter WHERE id = $1", ident)
        assert row is not None
        return dict(row)

    async def delivery(self, message_id: str, endpoint_id: str | None = None) -> dict[str, object]:
        """Give the row of a delivery, without more to the first endpoint."""
        row = await self.link.fetchrow(
            "SELECT * FROM delivery WHERE app_id = $1 AND message_id = $2 AND endpoint_id = $3",
            self.app_id, message_id, endpoint_id or self.endpoint_id,
        )  # fmt: skip
        assert row is not None
        return dict(row)

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
    link: Link

    async def tenant(self, uid: str = "one") -> Tenant:
        """Make an app with two endpoints, whose ids are in order."""
        at = rows.now()
        app_id = ids.new_id(ids.APP, at)
        await self.link.execute(
            """INSERT INTO app (environment_id, id, uid, name, created_at, updated_at)
               VALUES ($1, $2, $3, $3, $4, $4)""",
            self.gateway.environment_id, app_id, uid, at,
        )  # fmt: skip
        endpoint_id, other_id = sorted(ids.new_id(ids.ENDPOINT, at) for _ in range(2))
        await rows.endpoint(self.link, app_id, id=endpoint_id, uid="e1")
        await rows.endpoint(self.link, app_id, id=other_id, uid="e2")
        return Tenant(
            environment_id=self.gateway.environment_id,
            app_id=app_id,
            uid=uid,
            endpoint_id=endpoint_id,
            other_id=other_id,
            link=self.link,
        )


@asynccontextmanager
async def another_desk(shared: Gateway) -> AsyncIterator[Desk]:
    """Lend a desk in an environment of one's own."""
    async with another_environment(shared) as gateway, gateway.pool.acquire() as link:
        yield Desk(gateway=gateway, link=link)
