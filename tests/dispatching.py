"""Dispatchers in this process, and tenants in a database, for tests.

world = await new_world(pool)
app_id = await world.app()
await world.endpoint(app_id, receiver.url("/hook"))
async with dispatching(pool, nats_url):
    await publish(bus, app_id)
    await receiver.wait_for(1)
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from dispatcher.config import DispatcherConfig
from dispatcher.metrics import Metrics
from dispatcher.parts import Parts
from dispatcher.service import Dispatcher
from schema import ids
from schema.address import AddressPolicy
from schema.endpoint import secret_context
from schema.event import WAKE_ROOT
from schema.retry import RetryPolicy
from schema.store import dead_letter, delivery, wake
from schema.store.link import Link, Pool
from signer import secret
from signer.vault import Vault
from tests.services import SHARDS, connected

VAULT = Vault({"test": bytes(range(32))}, "test")
LOOPBACK = AddressPolicy(allowed_networks=(ip_network("127.0.0.0/8"),))
BODY = b'{"hello": "world"}'


def now() -> datetime:
    return datetime.now(UTC)


def config(name: str = "d1", **changes: Any) -> DispatcherConfig:
    """Give limits that let tests be quick: leases of two seconds, retries after 50 ms."""
    usual: dict[str, Any] = {
        "name": name,
        "address_policy": LOOPBACK,
        "lease_s": 2.0,
        "drain_s": 2.0,
        "retry_policy": RetryPolicy(waits_s=(0.05, 0.1)),
        "retry_jitter": 0.0,
        "request_timeout_s": 5.0,
    }
    return DispatcherConfig(**(usual | changes))


def parts(pool: Pool, bus: Client, limits: DispatcherConfig | None = None, **others: Any) -> Parts:
    """Give what a dispatcher is made of, `others` as they are given."""
    usual: dict[str, Any] = {
        "clock": now,
        "dice": random.random,
        "metrics": Metrics(CollectorRegistry()),
    }
    return Parts(
        pool=pool,
        bus=bus,
        vault=VAULT,
        config=limits or config(),
        shards=SHARDS,
        **(usual | others),
    )


def dispatcher(pool: Pool, bus: Client, limits: DispatcherConfig) -> Dispatcher:
    """Put one together; it runs in whatever runs `run`."""
    return Dispatcher(parts(pool, bus, limits))


@dataclass(slots=True, kw_only=True)
class Running:
    """A dispatcher at work."""

    dispatcher: Dispatcher
    bus: Client
    task: asyncio.Task[None]
    stop: asyncio.Event

    async def leave(self) -> None:
        """Stop in order."""
        self.stop.set()
        await self.task

    async def die(self) -> None:
        """End without a word: nothing is settled or given back."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def owns(self, shards: int) -> None:
        """Wait until it owns so many shards."""
        await eventually(lambda: len(self.dispatcher._shards.epochs) == shards)


@asynccontextmanager
async def dispatching(
    pool: Pool, nats_url: str, name: str = "d1", *, owns: int = SHARDS, **changes: Any
) -> AsyncIterator[Running]:
    """Run a dispatcher; it has begun with `owns` shards."""
    async with connected(nats_url) as bus:
        made = dispatcher(pool, bus, config(name, **changes))
        stop = asyncio.Event()
        task = asyncio.create_task(made.run(stop))
        running = Running(dispatcher=made, bus=bus, task=task, stop=stop)
        try:
            await _first(running.owns(owns), task)
            yield running
        finally:
            if not task.done():
                stop.set()
            with suppress(asyncio.CancelledError):
                await task


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """An environment with tenants, written as the gateway writes them."""

    pool: Pool
    environment_id: str

    async def app(
        self, *, uid: str | None = None, rate: int | None = None, shard: int | None = None
    ) -> str:
        """Make an app, if need be one of a certain shard."""
        app_id = ids.new_id(ids.APP, now())
        while shard is not None and ids.shard_of(app_id, SHARDS) != shard:
            app_id = ids.new_id(ids.APP, now())
        await self.pool.execute(
            """INSERT INTO app (environment_id, id, uid, name, throttle_rate, created_at,
                                updated_at) VALUES ($1, $2, $3, 'app', $4, now(), now())""",
            self.environment_id,
            app_id,
            uid,
            rate,
        )
        return app_id

    def shard(self, app_id: str) -> int:
        """Say which shard an app is of."""
        return ids.shard_of(app_id, SHARDS)

    async def endpoint(
        self,
        app_id: str,
        url: str,
        *,
        rate: int | None = None,
        policy: list[float] | None = None,
        event_types: list[str] | None = None,
        channels: list[str] | None = None,
        state: str = "active",
        ordered: bool = False,
    ) -> str:
        """Make an endpoint with a secret."""
        endpoint_id = ids.new_id(ids.ENDPOINT, now())
        async with self.pool.acquire() as link, link.transaction():
            await link.execute(
                """INSERT INTO endpoint (app_id, id, url, throttle_rate, retry_policy, event_types,
                                         channels, state, ordered, state_at, created_at,
                                         updated_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now(), now(), now())""",
                app_id,
                endpoint_id,
                url,
                rate,
                policy,
                event_types,
                channels,
                state,
                ordered,
            )
            await link.execute(
                "INSERT INTO endpoint_secret VALUES ($1, $2, $3, 'hmac256', $4, now())",
                app_id,
                endpoint_id,
                ids.new_id(ids.ENDPOINT_SECRET, now()),
                VAULT.seal(
                    secret.generate().text.encode(), context=secret_context(app_id, endpoint_id)
                ),
            )
        return endpoint_id

    async def owe(
        self,
        app_id: str,
        endpoint_id: str,
        number: int = 1,
        *,
        body: bytes = BODY,
        place: int | None = None,
    ) -> list[str]:
        """Write messages that are owed since now, without a word to any dispatcher.

        `place` is that of the first, if they have places.
        """
        made = [ids.new_id(ids.MESSAGE, now()) for _ in range(number)]
        async with self.pool.acquire() as link, link.transaction():
            await link.execute(
                """INSERT INTO message (app_id, id, event_type, payload, content_type, created_at)
                   SELECT $1, id, 'a.b', $3, 'application/json', now()
                   FROM unnest($2::text[]) id""",
                app_id,
                made,
                body,
            )
            await link.execute(
                """INSERT INTO delivery (app_id, message_id, endpoint_id, shard, due_at, created_at,
                                         place)
                   SELECT $1, id, $3, $4, now(), now(), $5::bigint + n - 1
                   FROM unnest($2::text[]) WITH ORDINALITY AS m(id, n)""",
                app_id,
                made,
                endpoint_id,
                ids.shard_of(app_id, SHARDS),
                place,
            )
        return made

    async def wake(self, app_id: str, endpoint_id: str) -> None:
        """Note that an endpoint is owed something; a running dispatcher looks within a second."""
        async with self.pool.acquire() as link:
            await wake.add(link, self.shard(app_id), app_id, [endpoint_id])

    async def set_state(self, endpoint_id: str, state: str) -> None:
        await self.pool.execute(
            "UPDATE endpoint SET state = $2, state_at = now() WHERE id = $1", endpoint_id, state
        )

    async def states(self) -> dict[str, int]:
        """Count the deliveries by state."""
        rows = await self.pool.fetch("SELECT state, count(*) FROM delivery GROUP BY state")
        return {row["state"]: row["count"] for row in rows}

    async def settled(self, number: int, *, within_s: float = 10.0) -> dict[str, int]:
        """Wait until so many deliveries are made and none is owed; give them by state."""

        async def nothing_owed() -> bool:
            states = await self.states()
            owed = states.get("pending", 0) + states.get("retrying", 0)
            return sum(states.values()) >= number and not owed

        await eventually(nothing_owed, within_s=within_s)
        return await self.states()

    async def delivery(self, message_id: str) -> asyncpg.Record:
        """Give the one delivery of a message."""
        (row,) = await self.pool.fetch("SELECT * FROM delivery WHERE message_id = $1", message_id)
        return row

    async def attempts(self) -> list[asyncpg.Record]:
        """Give all attempts, the oldest first."""
        return list(await self.pool.fetch("SELECT * FROM attempt ORDER BY id"))

    async def letters(self) -> list[asyncpg.Record]:
        return list(await self.pool.fetch("SELECT * FROM dead_letter ORDER BY id"))

    async def rejected(self, number: int) -> list[asyncpg.Record]:
        """Wait for so many rejected events."""

        async def enough() -> bool:
            return await self.pool.fetchval("SELECT count(*) FROM rejected_event") >= number

        await eventually(enough)
        return list(await self.pool.fetch("SELECT * FROM rejected_event ORDER BY sequence, id"))


async def elsewhere(world: World) -> World:
    """Give another environment of the same database."""
    other = ids.new_id(ids.ENVIRONMENT, now())
    await world.pool.execute(
        """INSERT INTO environment (id, name, kind, created_at, updated_at)
           VALUES ($1, 'other', 'production', now(), now())""",
        other,
    )
    return World(pool=world.pool, environment_id=other)


async def new_world(pool: Pool) -> World:
    """Give the world of a database's first environment."""
    return World(pool=pool, environment_id=await pool.fetchval("SELECT id FROM environment"))


async def taken(world: World, messages: int) -> None:
    """Wait until so many events have become messages."""

    async def enough() -> bool:
        return await world.pool.fetchval("SELECT count(*) FROM message") >= messages

    await eventually(enough, within_s=15)


async def waiting(pool: Pool, statements: int) -> bool:
    """Tell whether so many statements wait for the transactions of others, in this database."""
    held_up = """SELECT count(*) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event = 'transactionid'"""
    return bool(await pool.fetchval(held_up) == statements)


async def publish(
    bus: Client,
    app: str,
    event_type: str = "a.b",
    *,
    body: bytes = BODY,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Publish an event; give its sequence."""
    subject = f"events.{app}.{event_type}"
    ack = await bus.jetstream().publish(subject, body, headers=dict(headers or {}) or None)
    return int(ack.seq)


async def publish_raw(nats_url: str, subject: bytes, body: bytes, head: bytes = b"") -> None:
    """Publish what no client would: the bytes of a subject and of header lines as they are."""
    server = urlsplit(nats_url)
    greeting = {"verbose": False, "headers": True, "user": server.username, "pass": server.password}
    reader, writer = await asyncio.open_connection(server.hostname, server.port)
    lines = b"NATS/1.0\r\n%b\r\n" % head
    writer.write(b"CONNECT %b\r\n" % json.dumps(greeting).encode())
    writer.write(
        b"HPUB %b %d %d\r\n%b%b\r\nPING\r\n"
        % (subject, len(lines), len(lines) + len(body), lines, body)
    )
    async with asyncio.timeout(5):
        await reader.readuntil(b"PONG\r\n")
    writer.close()
    await writer.wait_closed()


async def waits_for_lock(link: Link | Pool) -> bool:
    """Tell whether anybody waits for a lock in this database; others are on the same server."""
    return bool(
        await link.fetchval(
            """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'"""
        )
    )


async def eventually(
    condition: Callable[[], bool] | Callable[[], Awaitable[bool]], *, within_s: float = 10.0
) -> None:
    """Wait until a condition holds."""
    try:
        async with asyncio.timeout(within_s):
            while not await _holds(condition):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"it did not come true within {within_s} s") from None


async def _holds(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> bool:
    found = condition()
    return found if isinstance(found, bool) else await found


async def _first(wanted: Awaitable[None], other: asyncio.Task[None]) -> None:
    """Wait for something, but not if another task fails before."""
    waiting = asyncio.ensure_future(wanted)
    await asyncio.wait([waiting, other], return_when=asyncio.FIRST_COMPLETED)
    if other.done():
        waiting.cancel()
        other.result()
    await waiting


async def resend(world: World, bus: Client, message_id: str) -> None:
    """Send the one delivery of a message again by hand, as the gateway does."""
    row = await world.delivery(message_id)
    app_id, endpoint_id = row["app_id"], row["endpoint_id"]
    async with world.pool.acquire() as link, link.transaction():
        await delivery.resend(link, app_id, message_id, endpoint_id, shard=row["shard"], at=now())
        await dead_letter.redeliver_of(link, app_id, message_id, endpoint_id, now())
        await wake.add(link, row["shard"], app_id, [endpoint_id])
    await bus.publish(f"{WAKE_ROOT}.{row['shard']}")
