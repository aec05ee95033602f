"""What a gateway is made of. Made once by `create_app`, read by every request."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from nats.aio.client import Client
from starlette.requests import Request

from gateway.config import GatewayConfig
from gateway.slices import Slices
from schema.store.link import Link, Pool
from schema.store.pool import reachable
from signer.vault import Vault
from transformer.sandbox import Sandbox

if TYPE_CHECKING:  # these are made of parts themselves
    from gateway.appbook import AppBook
    from gateway.awaited import Awaited
    from gateway.catalogue import Catalogue
    from gateway.keyring import KeyRing
    from gateway.limits import Limits
    from gateway.listen import Listener
    from gateway.publish import Publisher

SCOPE_KEY: Final = "hookline.parts"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Everything that a request may use.

    Attributes:
        clock: Gives aware UTC.
        keys: Who calls, by the key they show.
        apps: Apps by id or uid.
        catalogue: What payloads are held to.
        limits: How much an app may publish.
        awaited: Tests that requests wait for.
        sandbox: Runs endpoints' code, to see what it does.
        listener: Hears what changed.
        slices: Does what is done for many messages of a request.
    """

    pool: Pool
    bus: Client
    vault: Vault
    clock: Callable[[], datetime]
    config: GatewayConfig
    publisher: "Publisher"
    keys: "KeyRing"
    apps: "AppBook"
    catalogue: "Catalogue"
    limits: "Limits"
    awaited: "Awaited"
    sandbox: Sandbox
    listener: "Listener"
    slices: Slices

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Link]:
        """Lend a connection to Postgres; do nothing else than Postgres inside.

        Raises:
            Unavailable: Postgres does not answer, or all connections are in use for too long.
        """
        async with reachable(), self.pool.acquire(timeout=self.config.acquire_s) as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Link]:
        """Lend a connection inside of a transaction.

        At its end this gateway has heard of what was changed, or the next request of whoever
        changed it might still be answered by what was known before.
        """
        async with self.connection() as connection, connection.transaction():
            yield connection
        await self.listener.sync()


def parts(request: Request) -> Parts:
    """Give the parts of the gateway that a request came to."""
    found: Parts = request.scope[SCOPE_KEY]
    return found
