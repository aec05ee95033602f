"""What an installation needs before its parts run: migrations and the stream."""

from dataclasses import dataclass

import asyncpg

from deploy.connections import connected_bus, connection
from deploy.faults import StartFault
from deploy.settings import Settings
from deploy.streams import ensure_stream, events_stream
from schema.migrate import migrate
from schema.store import shard


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What was done: the migrations applied by name, and whether the stream is new."""

    migrations: list[str]
    stream_is_new: bool
    shards: int


async def install(settings: Settings) -> Installed:
    """Bring database and stream to what this version needs; may be run at any time.

    Raises:
        StartFault: Postgres or NATS does not answer or refuses.
    """
    async with connection(settings) as link:
        try:
            migrations = await migrate(link, shards=settings.shards)
        except asyncpg.PostgresError as error:
            raise StartFault(f"Postgres refuses a migration: {error}") from error
        shards = await shard.count(link)
    async with connected_bus(settings, name="hookline-install") as bus:
        stream_is_new = await ensure_stream(bus.jetstream(), events_stream(settings, shards=shards))
    return Installed(migrations=migrations, stream_is_new=stream_is_new, shards=shards)
