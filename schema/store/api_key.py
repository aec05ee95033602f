"""API keys."""

from collections.abc import Mapping
from datetime import datetime

import asyncpg

from schema.api_key import ApiKey, KeyKind
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("api_key")


async def find(link: Link, digest: bytes) -> ApiKey | None:
    """Find a key by its hash, if its environment is not deleted. It may have ended."""
    return _noun_or_none(await link.fetchrow(_SQL["by_hash"], digest))


async def find_operator(link: Link, environment_id: str, key_id: str) -> ApiKey | None:
    """Find an operator's key by its id."""
    return _noun_or_none(await link.fetchrow(_SQL["by_id"], environment_id, key_id))


async def lock_operator(link: Link, environment_id: str, key_id: str) -> ApiKey | None:
    """Find an operator's key and keep others from changing it until the transaction ends."""
    return _noun_or_none(await link.fetchrow(_SQL["lock"], environment_id, key_id))


async def page(
    link: Link, environment_id: str, *, bound: str, up: bool, limit: int, now: datetime
) -> list[ApiKey]:
    """Give up to `limit` operators' keys that count, in the direction of the scan."""
    name = "page_up" if up else "page_down"
    return [_noun(row) for row in await link.fetch(_SQL[name], environment_id, bound, limit, now)]


async def list_all(link: Link) -> list[ApiKey]:
    """Give every key there ever was, oldest first."""
    return [_noun(row) for row in await link.fetch(_SQL["list_all"])]


async def create(link: Link, key: ApiKey, digest: bytes) -> None:
    """Write a new key.

    Args:
        link: A connection.
        key: The key without its text.
        digest: The hash of its text.
    """
    await link.execute(
        _SQL["insert"],
        key.id,
        key.environment_id,
        key.app_id,
        key.kind,
        key.name,
        digest,
        key.hint,
        key.scopes,
        key.session_id,
        key.created_at,
        key.expires_at,
    )


async def update(link: Link, key: ApiKey) -> None:
    """Write what may change: name, scopes, end."""
    await link.execute(_SQL["update"], key.id, key.name, key.scopes, key.expires_at)


async def revoke(link: Link, key_id: str, at: datetime) -> bool:
    """Revoke a key; tell whether there is one with this id."""
    return await link.fetchval(_SQL["revoke"], key_id, at) is not None


async def revoke_of_app(link: Link, environment_id: str, app_id: str, at: datetime) -> None:
    """Revoke all keys of an app."""
    await link.execute(_SQL["revoke_of_app"], environment_id, app_id, at)


async def touch(link: Link, used: Mapping[str, datetime]) -> None:
    """Write down when keys (by id) were used."""
    await link.execute(_SQL["touch"], list(used), list(used.values()))


def _noun_or_none(row: "asyncpg.Record | None") -> ApiKey | None:
    return None if row is None else _noun(row)


def _noun(row: "asyncpg.Record") -> ApiKey:
    return ApiKey(
        id=row["id"],
        environment_id=row["environment_id"],
        app_id=row["app_id"],
        kind=KeyKind(row["kind"]),
        name=row["name"],
        hint=row["hint"],
        scopes=tuple(row["scopes"]),
        session_id=row["session_id"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
