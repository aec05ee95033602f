"""What access tokens for endpoints are asked for with; sealed, refresh tokens apart."""

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("endpoint_oauth")


class Place(NamedTuple):
    """A configuration as it was set once: another one has another version."""

    app_id: str
    endpoint_id: str
    version: int


class Refresh(NamedTuple):
    """A refresh token at rest, and how many came before it."""

    sealed: bytes
    rotation: int


async def find(link: Link, app_id: str, endpoint_id: str) -> bytes | None:
    """Give the sealed configuration of an endpoint."""
    found: bytes | None = await link.fetchval(_SQL["find"], app_id, endpoint_id)
    return found


async def put(
    link: Link,
    app_id: str,
    endpoint_id: str,
    *,
    config: bytes,
    refresh_token: bytes | None,
    now: datetime,
) -> None:
    """Write the sealed configuration of an endpoint instead of what there was."""
    await link.execute(_SQL["put"], app_id, endpoint_id, config, refresh_token, now)


async def delete(link: Link, app_id: str, endpoint_id: str) -> None:
    """Delete that of an endpoint, if there is any."""
    await link.execute(_SQL["delete"], app_id, endpoint_id)


async def delete_all(link: Link, app_id: str, endpoint_ids: Collection[str]) -> None:
    """Delete those of endpoints."""
    await link.execute(_SQL["delete_all"], app_id, list(endpoint_ids))


async def refresh_token(link: Link, place: Place) -> Refresh | None:
    """Give the newest refresh token; None if the configuration is another by now."""
    row = await link.fetchrow(_SQL["refresh_token"], *place)
    if row is None or row["refresh_token"] is None:
        return None
    return Refresh(row["refresh_token"], row["rotation"])


async def rotate(link: Link, place: Place, refresh: Refresh) -> bool:
    """Write a refresh token that came of the one of `rotation`; tell whether it counts.

    It does not if the configuration was set anew, or if another came of the same before.
    """
    return await link.fetchval(_SQL["rotate"], *place, refresh.rotation, refresh.sealed) is not None
