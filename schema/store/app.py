"""Apps."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from schema import ids
from schema.app import App
from schema.errors import Conflict
from schema.store import policy, statements
from schema.store.link import Link

_SQL = statements.load("app")
_TAKEN = "An application with that id or uid already exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Without:
    """Which apps to leave out of a list."""

    no_endpoints: bool = False
    only_disabled: bool = False
    only_play: bool = False  # at Svix's public test receiver


async def find(link: Link, environment_id: str, ref: str) -> App | None:
    """Find an app of an environment by its id or uid; a uid never looks like an id."""
    name = "by_id" if ref.startswith(ids.APP) else "by_uid"
    return _noun_or_none(await link.fetchrow(_SQL[name], environment_id, ref))


async def named(link: Link, environment_id: str, refs: Collection[str]) -> dict[str, str]:
    """Give the ids of apps by what they were called: id or uid. Those there are none of lack."""
    rows = await link.fetch(_SQL["named"], environment_id, list(refs))
    wanted = set(refs)
    by_id = {row["id"]: row["id"] for row in rows}
    found = by_id | {row["uid"]: row["id"] for row in rows if row["uid"] is not None}
    return {ref: found[ref] for ref in found if ref in wanted}


async def lock(link: Link, environment_id: str, app_id: str) -> App | None:
    """Find an app and keep others from changing it until the transaction ends."""
    return _noun_or_none(await link.fetchrow(_SQL["lock"], environment_id, app_id))


async def page(
    link: Link, environment_id: str, *, bound: str, up: bool, limit: int, without: Without
) -> list[App]:
    """Give up to `limit` apps beyond a key, in the direction of the scan."""
    rows = await link.fetch(
        _SQL["page_up" if up else "page_down"],
        environment_id,
        bound,
        limit,
        without.no_endpoints,
        without.only_disabled,
        without.only_play,
    )
    return [_noun(row) for row in rows]


async def ids_behind(link: Link, environment_id: str, *, behind: str, most: int) -> list[str]:
    """Give ids of an environment's apps, in order."""
    rows = await link.fetch(_SQL["ids_behind"], environment_id, behind, most)
    return [row["id"] for row in rows]


async def insert(link: Link, app: App) -> None:
    """Write a new app.

    Raises:
        Conflict: Its uid is taken.
    """
    try:
        await link.execute(
            _SQL["insert"],
            app.environment_id,
            app.id,
            app.uid,
            app.name,
            app.throttle_rate,
            policy.write(app.retry_policy),
            dict(app.metadata),
            app.created_at,
            app.updated_at,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(_TAKEN) from None


async def ensure_operational(link: Link, app: App) -> None:
    """Write an environment's operational app, unless it is there."""
    await link.execute(_SQL["insert_operational"], app.environment_id, app.id, app.created_at)


async def update(link: Link, app: App) -> None:
    """Write all that may change.

    Raises:
        Conflict: Its uid is taken.
    """
    try:
        await link.execute(
            _SQL["update"],
            app.environment_id,
            app.id,
            app.uid,
            app.name,
            app.throttle_rate,
            policy.write(app.retry_policy),
            dict(app.metadata),
            app.updated_at,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(_TAKEN) from None


async def delete(link: Link, app: App, at: datetime) -> None:
    """Delete an app and free its uid; its endpoints and keys are the caller's to delete."""
    await link.execute(_SQL["delete"], app.environment_id, app.id, at)


def _noun_or_none(row: "asyncpg.Record | None") -> App | None:
    return None if row is None else _noun(row)


def _noun(row: "asyncpg.Record") -> App:
    return App(
        environment_id=row["environment_id"],
        id=row["id"],
        uid=row["uid"],
        name=row["name"],
        throttle_rate=row["throttle_rate"],
        retry_policy=policy.read(row["retry_policy"]),
        metadata=row["metadata"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
