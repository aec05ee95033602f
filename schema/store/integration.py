"""Integrations."""

import asyncpg

from schema.integration import Integration
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("integration")


async def find(link: Link, app_id: str, ident: str) -> Integration | None:
    """Find an integration of an app."""
    return _noun_or_none(await link.fetchrow(_SQL["find"], app_id, ident))


async def lock(link: Link, app_id: str, ident: str) -> Integration | None:
    """Find an integration and keep others from changing it until the transaction ends."""
    return _noun_or_none(await link.fetchrow(_SQL["lock"], app_id, ident))


async def page(link: Link, app_id: str, *, bound: str, up: bool, limit: int) -> list[Integration]:
    """Give up to `limit` integrations of an app, in the direction of the scan."""
    name = "page_up" if up else "page_down"
    return [_noun(row) for row in await link.fetch(_SQL[name], app_id, bound, limit)]


async def insert(link: Link, integration: Integration) -> None:
    """Write a new integration; its key is the caller's to write."""
    await link.execute(
        _SQL["insert"],
        integration.app_id,
        integration.id,
        integration.name,
        integration.feature_flags,
        integration.sealed,
        integration.created_at,
        integration.updated_at,
    )


async def update(link: Link, integration: Integration) -> None:
    """Write what may change: name, flags, the sealed key."""
    await link.execute(
        _SQL["update"],
        integration.app_id,
        integration.id,
        integration.name,
        integration.feature_flags,
        integration.sealed,
        integration.updated_at,
    )


async def delete(link: Link, app_id: str, ident: str) -> None:
    """Delete an integration; its key is the caller's to revoke."""
    await link.execute(_SQL["delete"], app_id, ident)


async def delete_all(link: Link, app_id: str) -> None:
    """Delete all integrations of an app."""
    await link.execute(_SQL["delete_all"], app_id)


def _noun_or_none(row: "asyncpg.Record | None") -> Integration | None:
    return None if row is None else _noun(row)


def _noun(row: "asyncpg.Record") -> Integration:
    return Integration(
        app_id=row["app_id"],
        id=row["id"],
        name=row["name"],
        feature_flags=tuple(row["feature_flags"]),
        sealed=row["sealed"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
