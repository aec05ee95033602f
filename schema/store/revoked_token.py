"""Svix's tokens of apps that end before their time."""

from datetime import datetime

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("revoked_token")


async def ends_at(link: Link, app_id: str, token: str, issued_at: datetime) -> datetime | None:
    """Say when a token (by its key's id) is ended; None if nobody ends it."""
    found: datetime | None = await link.fetchval(_SQL["ends_at"], app_id, token, issued_at)
    return found


async def revoke(
    link: Link, app_id: str, token: str, at: datetime, forget_at: datetime | None
) -> None:
    """End a token (by its key's id); from `forget_at` on it has ended by itself."""
    await link.execute(_SQL["revoke"], app_id, token, at, forget_at)


async def revoke_all(link: Link, app_id: str, issued_before: datetime, at: datetime) -> None:
    """End all tokens of an app that were issued before a time."""
    await link.execute(_SQL["revoke_all"], app_id, issued_before, at)
    await link.execute(_SQL["forget_covered"], app_id, issued_before, at)
