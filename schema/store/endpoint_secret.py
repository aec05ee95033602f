"""Signing secrets at rest: sealed here, opened by whoever holds the keyring."""

from collections.abc import Collection
from datetime import datetime

from schema.endpoint import SealedSecret
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("endpoint_secret")


async def live(link: Link, app_id: str, endpoint_id: str, now: datetime) -> list[SealedSecret]:
    """Give the secrets that sign now, the current one first."""
    return [
        SealedSecret(
            id=row["id"],
            kind=row["kind"],
            sealed=row["sealed"],
            created_at=row["created_at"],
            expires_at=row["expires_at"],
        )
        for row in await link.fetch(_SQL["live"], app_id, endpoint_id, now)
    ]


async def insert(link: Link, app_id: str, endpoint_id: str, secret: SealedSecret) -> None:
    """Write a new secret."""
    await link.execute(
        _SQL["insert"],
        app_id,
        endpoint_id,
        secret.id,
        secret.kind,
        secret.sealed,
        secret.created_at,
        secret.expires_at,
    )


async def retire(link: Link, app_id: str, endpoint_id: str, at: datetime) -> None:
    """Let the current secret sign until `at` only."""
    await link.execute(_SQL["retire"], app_id, endpoint_id, at)


async def delete_some(
    link: Link, app_id: str, endpoint_id: str, secret_ids: Collection[str], now: datetime
) -> None:
    """Delete these secrets of an endpoint, and those that sign no more."""
    await link.execute(_SQL["delete_some"], app_id, endpoint_id, list(secret_ids), now)


async def delete_all(link: Link, app_id: str, endpoint_ids: Collection[str]) -> None:
    """Delete all secrets of endpoints."""
    await link.execute(_SQL["delete_all"], app_id, list(endpoint_ids))
