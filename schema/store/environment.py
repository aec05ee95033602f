"""Environments."""

from datetime import datetime

import asyncpg

from schema.app import Environment
from schema.store import policy, statements
from schema.store.link import Link

_SQL = statements.load("environment")


async def find(link: Link, environment_id: str) -> Environment | None:
    """Find an environment that is not deleted."""
    return _noun_or_none(await link.fetchrow(_SQL["find"], environment_id))


async def find_default(link: Link) -> Environment | None:
    """Find the environment that is meant when none is named."""
    return _noun_or_none(await link.fetchrow(_SQL["find_default"]))


async def lock(link: Link, environment_id: str) -> Environment | None:
    """Find an environment and keep others from changing it until the transaction ends."""
    return _noun_or_none(await link.fetchrow(_SQL["lock"], environment_id))


async def page(link: Link, *, bound: str, up: bool, limit: int) -> list[Environment]:
    """Give up to `limit` environments beyond a key, in the direction of the scan."""
    name = "page_up" if up else "page_down"
    return [_noun(row) for row in await link.fetch(_SQL[name], bound, limit)]


async def insert(link: Link, environment: Environment) -> None:
    """Write a new environment."""
    await link.execute(
        _SQL["insert"],
        environment.id,
        environment.name,
        environment.kind,
        environment.is_default,
        policy.write(environment.retry_policy),
        environment.created_at,
        environment.updated_at,
    )


async def ensure(link: Link, environment_id: str, *, name: str, kind: str, at: datetime) -> bool:
    """Make an environment, unless there ever was one with this id; tell whether it is new."""
    made = await link.fetchval(_SQL["ensure"], environment_id, name, kind, at)
    return made is not None


async def update(link: Link, environment: Environment) -> None:
    """Write what may change: the name, the retry policy and the settings."""
    await link.execute(
        _SQL["update"],
        environment.id,
        environment.name,
        policy.write(environment.retry_policy),
        dict(environment.settings),
        environment.updated_at,
    )


async def delete(link: Link, environment_id: str, at: datetime) -> None:
    """Delete an environment; everything in it is out of reach from then on."""
    await link.execute(_SQL["delete"], environment_id, at)


def _noun_or_none(row: "asyncpg.Record | None") -> Environment | None:
    return None if row is None else _noun(row)


def _noun(row: "asyncpg.Record") -> Environment:
    return Environment(
        id=row["id"],
        name=row["name"],
        kind=row["kind"],
        is_default=row["is_default"],
        retry_policy=policy.read(row["retry_policy"]),
        settings=row["settings"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
