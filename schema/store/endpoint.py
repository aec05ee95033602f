"""Endpoints, without their secrets."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from schema import ids
from schema.endpoint import Endpoint, EndpointState
from schema.errors import Conflict
from schema.store import policy, statements
from schema.store.link import Link

_SQL = statements.load("endpoint")
_TAKEN = "An endpoint with that id or uid already exists"
_COUNTED = 100_000  # deliveries; past that a backlog is large, however large


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Attempts by how they ended; deliveries: untried, failed and due again, or called off."""

    delivered: int
    failed: int
    pending: int
    retrying: int
    cancelled: int


async def find(link: Link, app_id: str, ref: str) -> Endpoint | None:
    """Find an endpoint of an app by its id or uid; a uid never looks like an id."""
    name = "by_id" if ref.startswith(ids.ENDPOINT) else "by_uid"
    return _noun_or_none(await link.fetchrow(_SQL[name], app_id, ref))


async def lock(link: Link, app_id: str, endpoint_id: str) -> Endpoint | None:
    """Find an endpoint and keep others from changing it until the transaction ends."""
    return _noun_or_none(await link.fetchrow(_SQL["lock"], app_id, endpoint_id))


async def page(link: Link, app_id: str, *, bound: str, up: bool, limit: int) -> list[Endpoint]:
    """Give up to `limit` endpoints beyond a key, in the direction of the scan."""
    name = "page_up" if up else "page_down"
    return [_noun(row) for row in await link.fetch(_SQL[name], app_id, bound, limit)]


async def insert(link: Link, endpoint: Endpoint) -> None:
    """Write a new endpoint.

    Raises:
        Conflict: Its uid is taken.
    """
    try:
        await link.execute(
            _SQL["insert"], *_stored(endpoint), endpoint.created_at, endpoint.updated_at
        )
    except asyncpg.UniqueViolationError:
        raise Conflict(_TAKEN) from None


async def update(link: Link, endpoint: Endpoint) -> None:
    """Write all that may change.

    Raises:
        Conflict: Its uid is taken.
    """
    try:
        await link.execute(_SQL["update"], *_stored(endpoint), endpoint.updated_at)
    except asyncpg.UniqueViolationError:
        raise Conflict(_TAKEN) from None


async def delete(link: Link, app_id: str, endpoint_id: str, at: datetime) -> None:
    """Delete an endpoint and free its uid; its secrets are the caller's to delete."""
    await link.execute(_SQL["delete"], app_id, endpoint_id, at)


async def delete_all(link: Link, app_id: str, at: datetime) -> list[str]:
    """Delete the endpoints of an app; give the ids of those that were there."""
    return [row["id"] for row in await link.fetch(_SQL["delete_all"], app_id, at)]


async def count(
    link: Link, endpoint: Endpoint, *, shard: int, since: datetime, until: datetime
) -> Counts:
    """Count the attempts of a time, and what is owed of the messages of that time."""
    place = (endpoint.app_id, endpoint.id)
    attempted = await link.fetchrow(_SQL["attempted"], *place, since, until)
    first, last = ids.first_id(ids.MESSAGE, since), ids.first_id(ids.MESSAGE, until)
    owed = await link.fetchrow(_SQL["owed"], shard, *place, first, last, _COUNTED)
    return Counts(
        delivered=attempted["delivered"] if attempted else 0,
        failed=attempted["failed"] if attempted else 0,
        pending=owed["pending"] if owed else 0,
        retrying=owed["retrying"] if owed else 0,
        cancelled=await link.fetchval(_SQL["cancelled"], *place, first, last, _COUNTED),
    )


async def number_of(link: Link, app_id: str, most: int) -> int:
    """Count an app's endpoints, no further than `most`."""
    number: int = await link.fetchval(_SQL["number_of"], app_id, most)
    return number


async def takes(link: Link, app_id: str, event_type: str, channels: Sequence[str] | None) -> bool:
    """Tell whether any endpoint of an app takes such a message."""
    given = None if channels is None else list(channels)
    return bool(await link.fetchval(_SQL["takes"], app_id, event_type, given))


async def overdue_since(
    link: Link, endpoint: Endpoint, *, shard: int, before: datetime
) -> datetime | None:
    """Say since when the first delivery has been due that waits since `before`.

    None if nothing waits, or if the endpoint fails.
    """
    found: datetime | None = await link.fetchval(
        _SQL["overdue_since"], shard, endpoint.app_id, endpoint.id, before
    )
    return found


def _stored(endpoint: Endpoint) -> tuple[object, ...]:
    """Give the columns from app_id to state_at."""
    return (
        endpoint.app_id,
        endpoint.id,
        endpoint.uid,
        endpoint.url,
        endpoint.description,
        endpoint.version,
        endpoint.event_types,
        endpoint.channels,
        endpoint.headers,
        endpoint.throttle_rate,
        policy.write(endpoint.retry_policy),
        endpoint.ordered,
        dict(endpoint.metadata),
        endpoint.state,
        endpoint.state_reason,
        endpoint.state_at,
    )


def _noun_or_none(row: "asyncpg.Record | None") -> Endpoint | None:
    return None if row is None else _noun(row)


def _noun(row: "asyncpg.Record") -> Endpoint:
    return Endpoint(
        app_id=row["app_id"],
        id=row["id"],
        uid=row["uid"],
        url=row["url"],
        description=row["description"],
        version=row["version"],
        event_types=_tuple(row["event_types"]),
        channels=_tuple(row["channels"]),
        headers=row["headers"],
        throttle_rate=row["throttle_rate"],
        retry_policy=policy.read(row["retry_policy"]),
        ordered=row["ordered"],
        metadata=row["metadata"],
        state=EndpointState(row["state"]),
        state_reason=row["state_reason"],
        state_at=row["state_at"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
