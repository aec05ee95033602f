"""Operational events: what the installation tells its operators, in the transaction of it.

They wait in a table until the dispatcher publishes them; what no endpoint wants is not written.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from schema.event import MAX_CHANNELS
from schema.operational import UNNAMED, Kind
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("operational")
_NAMED: Final = 100  # kinds and keys of a digest
_COUNTED: Final = 1_000_000


class AttemptNote(NamedTuple):
    """What is to be told of an attempt."""

    kind: Kind
    app_id: str
    message_id: str
    endpoint_id: str
    attempt_id: str
    status: int | None
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An event that is not published yet; `passes` says whether it is to be, or only counted.

    `data` is an object; of the log of attempts, an array of them.
    """

    number: int
    environment_id: str
    kind: str
    channels: tuple[str, ...]
    data: Mapping[str, Any] | Sequence[Any]
    created_at: datetime
    passes: bool


async def note(
    link: Link,
    *,
    environment_id: str,
    app_id: str | None,
    kind: str,
    data: Mapping[str, object],
    key: str | None = None,
    app_ids: Sequence[str] = (),
) -> None:
    """Have an event published once the transaction commits, if any endpoint wants it.

    Args:
        link: The connection that the transaction is on.
        environment_id: Whose operational endpoints hear of it.
        app_id: The tenant that it is about, whose id and uid are added to the data; None: no
            single one. Nothing is told of the operational app itself.
        kind: The event type, one of `schema.operational.Kind`.
        data: The rest of what it says.
        key: Of one kind and key only so many are published in a minute, the others are counted;
            by default the app. An endpoint's id, where it is about one.
        app_ids: The tenants that it is about if there are several; the first few are its channels.
    """
    channels = list(app_ids[:MAX_CHANNELS]) if app_id is None else []
    await link.execute(_SQL["note"], environment_id, app_id, kind, key, dict(data), channels)


async def note_endpoints(
    link: Link, kind: Kind, endpoints: Collection[tuple[str, str, Mapping[str, object]]]
) -> None:
    """Have events about endpoints published: app, endpoint, and what there is to say besides."""
    if endpoints:
        await link.execute(
            _SQL["note_endpoints"],
            kind,
            [app_id for app_id, _, _ in endpoints],
            [endpoint_id for _, endpoint_id, _ in endpoints],
            [dict(more) for _, _, more in endpoints],
        )


async def note_attempts(link: Link, notes: Sequence[AttemptNote]) -> None:
    """Have events about attempts published."""
    if notes:
        await link.execute(_SQL["note_attempts"], *zip(*notes, strict=True))


async def wanted(link: Link) -> frozenset[str]:
    """Tell which kinds of events any endpoint wants, in whatever environment."""
    rows = await link.fetch(_SQL["interest"])
    filters = [row["event_types"] for row in rows]
    named = frozenset(name for names in filters if names is not None for name in names)
    return named | UNNAMED if None in filters else named


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that publishes now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def page(link: Link, *, most: int, per_minute: int) -> list[Waiting]:
    """Give the oldest events that wait.

    Args:
        link: A connection.
        most: How many.
        per_minute: How many of a kind and key pass in a minute.
    """
    return [
        Waiting(
            number=row["number"],
            environment_id=row["environment_id"],
            kind=row["kind"],
            channels=tuple(row["channels"]),
            data=row["data"],
            created_at=row["created_at"],
            passes=row["passes"],
        )
        for row in await link.fetch(_SQL["page"], most, per_minute)
    ]


async def finish(link: Link, events: Sequence[Waiting]) -> None:
    """Forget events: those that pass are published, the others are counted."""
    numbers = [event.number for event in events]
    await link.execute(_SQL["finish"], numbers, [e.number for e in events if e.passes])


async def digest(link: Link, before: datetime) -> None:
    """Tell what was only counted in the minutes before a time."""
    await link.execute(_SQL["digest"], before, _NAMED)


async def waiting(link: Link, most: int = _COUNTED) -> int:
    """Say how many events wait to be published; counts no further than `most`."""
    return int(await link.fetchval(_SQL["waiting"], most))
