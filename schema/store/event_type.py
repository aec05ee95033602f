"""Event types."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace

import asyncpg
import orjson

from schema.event_type import EventType, SchemaMode, counting_version
from schema.payload_schema import Check, SchemaFault, compiled
from schema.retry import RetryPolicy, read_policy
from schema.store import policy, statements
from schema.store.link import Link

_SQL = statements.load("event_type")
_log = logging.getLogger(__name__)


async def find(link: Link, environment_id: str, name: str) -> EventType | None:
    """Find an event type, archived or not."""
    return _noun_or_none(await link.fetchrow(_SQL["find"], environment_id, name))


async def lock(link: Link, environment_id: str, name: str) -> EventType | None:
    """Find an event type and keep others from changing it until the transaction ends."""
    return _noun_or_none(await link.fetchrow(_SQL["lock"], environment_id, name))


async def lock_some(
    link: Link, environment_id: str, names: Collection[str]
) -> dict[str, EventType]:
    """Find event types by their names, and keep others from changing them likewise."""
    rows = await link.fetch(_SQL["lock_some"], environment_id, list(names))
    return {row["name"]: _noun(row) for row in rows}


async def page(
    link: Link,
    environment_id: str,
    *,
    bound: str,
    up: bool,
    limit: int,
    archived: bool,
    flags: Collection[str] | None,
    schemas: bool,
) -> list[EventType]:
    """Give up to `limit` event types beyond a name, in the direction of the scan.

    Args:
        link: A connection.
        environment_id: Whose.
        bound: The name.
        up: The direction.
        limit: How many.
        archived: With those that are archived.
        flags: With those behind one of these feature flags; None is with all.
        schemas: With their schemas; without, they read as None.
    """
    rows = await link.fetch(
        _SQL["page_up" if up else "page_down"],
        environment_id,
        bound,
        limit,
        archived,
        None if flags is None else list(flags),
        schemas,
    )
    return [_noun(row) for row in rows]


async def insert(
    link: Link, event_type: EventType, *, keeps_policy: bool = False
) -> EventType | None:
    """Write an event type where there is none, or an archived one; None if one is in use.

    With `keeps_policy` the retry policy of an archived one stays as it is.
    """
    row = await link.fetchrow(_SQL["insert"], *_stored(event_type), keeps_policy)
    if row is None:
        return None
    return replace(
        event_type, created_at=row["created_at"], retry_policy=policy.read(row["retry_policy"])
    )


async def upsert(link: Link, event_type: EventType) -> tuple[EventType, bool]:
    """Write an event type over whatever is there; also tell whether it is new."""
    row = await link.fetchrow(_SQL["upsert"], *_stored(event_type))
    if row is None:  # the statement returns one row always
        raise LookupError(event_type.name)
    return replace(event_type, created_at=row["created_at"]), row["is_new"]


async def upsert_all(link: Link, found: Sequence[EventType]) -> None:
    """Write event types, new ones and over whatever is there, in one order."""
    rows = [_stored(event_type) for event_type in sorted(found, key=lambda one: one.name)]
    await link.executemany(_SQL["upsert"], rows)


async def expunge(link: Link, environment_id: str, name: str) -> None:
    """Delete an event type for good; messages of it are not touched."""
    await link.execute(_SQL["expunge"], environment_id, name)


async def unusable(
    link: Link, environment_id: str, names: Collection[str], flags: Collection[str] | None
) -> list[str]:
    """Give those of the names that a filter may not use: unknown, archived, or not to be seen.

    Args:
        link: A connection.
        environment_id: Whose.
        names: Of event types.
        flags: Of whoever wants to use them; None is of one who sees all.
    """
    seen = None if flags is None else list(flags)
    rows = await link.fetch(_SQL["usable"], environment_id, list(names), seen)
    usable = {row["name"] for row in rows}
    return [name for name in names if name not in usable]


async def checks(link: Link, environment_id: str) -> dict[str, Check]:
    """Give what payloads of an environment are held to, by event type."""
    found: dict[str, Check] = {}
    for row in await link.fetch(_SQL["checked"], environment_id):
        version = counting_version(row["schemas"], row["schema_version"])
        if version is None:
            continue
        schema = orjson.dumps(row["schemas"][version]).decode()
        try:
            compiled(schema)
        except SchemaFault as fault:  # somebody else wrote it: it holds up nobody's events
            _log.warning("payloads of %s are not looked at: %s", row["name"], fault)
            continue
        mode = SchemaMode(row["schema_mode"])
        found[row["name"]] = Check(mode=mode, version=version, schema=schema)
    return found


async def policies(
    link: Link, environment_ids: Collection[str]
) -> dict[str, dict[str, RetryPolicy]]:
    """Give the retry policies of event types by environment and name; nonsense counts as none."""
    found: dict[str, dict[str, RetryPolicy]] = {ident: {} for ident in environment_ids}
    for row in await link.fetch(_SQL["policies"], list(environment_ids)):
        try:
            found[row["environment_id"]][row["name"]] = read_policy(row["retry_policy"])
        except ValueError as error:  # somebody else wrote it
            _log.warning("a retry policy of %s cannot be read: %s", row["name"], error)
    return found


async def export(
    link: Link, environment_id: str, *, behind: str = "", most: int
) -> list[EventType]:
    """Give the first event types behind a name, whole and archived or not."""
    return [_noun(row) for row in await link.fetch(_SQL["export"], environment_id, most, behind)]


def _stored(event_type: EventType) -> tuple[object, ...]:
    return (
        event_type.environment_id,
        event_type.name,
        event_type.description,
        None if event_type.schemas is None else dict(event_type.schemas),
        event_type.archived,
        event_type.deprecated,
        event_type.group_name,
        event_type.feature_flags,
        event_type.created_at,
        event_type.updated_at,
        event_type.schema_mode,
        event_type.schema_version,
        policy.write(event_type.retry_policy),
    )


def _noun_or_none(row: "asyncpg.Record | None") -> EventType | None:
    return None if row is None else _noun(row)


def _noun(row: "asyncpg.Record") -> EventType:
    flags = row["feature_flags"]
    return EventType(
        environment_id=row["environment_id"],
        name=row["name"],
        description=row["description"],
        schemas=row["schemas"],
        schema_mode=SchemaMode(row["schema_mode"]),
        schema_version=row["schema_version"],
        retry_policy=policy.read(row["retry_policy"]),
        archived=row["archived"],
        deprecated=row["deprecated"],
        group_name=row["group_name"],
        feature_flags=None if flags is None else tuple(flags),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
