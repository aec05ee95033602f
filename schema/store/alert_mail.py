"""E-mails to apps: to whom, what is to be told, and what was.

What is to be told is written in the transaction of it, one row for each endpoint and kind; so
however much happens, little is to be told.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

import asyncpg

from schema.mail import GATHER_S, Failure, Reader, Trouble
from schema.operational import Kind
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("alert_mail")
_COUNTED: Final = 1_000_000


class Key(NamedTuple):
    """What is told of which endpoint."""

    app_id: str
    endpoint_id: str
    kind: str


class Disabled(NamedTuple):
    """An endpoint that was disabled by itself."""

    app_id: str
    endpoint_id: str
    reason: str
    fail_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """Something that this process alone tells for a while."""

    key: Key
    claim: str
    number: int
    since: datetime
    last_at: datetime
    fail_since: datetime | None
    reason: str | None
    failures: int
    failing_since: datetime | None


async def email(link: Link, app_id: str) -> str | None:
    """Give where mails for an app go."""
    found: str | None = await link.fetchval(_SQL["email"], app_id)
    return found


async def set_email(link: Link, app_id: str, email: str | None, at: datetime) -> None:
    """Say where mails for an app go; None: where its metadata say, if anywhere."""
    if email is None:
        await link.execute(_SQL["clear_email"], app_id)
    else:
        await link.execute(_SQL["set_email"], app_id, email, at)


async def wanted(link: Link) -> bool:
    """Tell whether any environment has its apps told by mail."""
    return bool(await link.fetchval(_SQL["wanted"]))


async def note_disabled(link: Link, endpoints: Collection[Disabled], *, pause_s: float) -> None:
    """Have apps told of endpoints that were disabled, if they want to be.

    Args:
        link: The connection that the transaction is on.
        endpoints: Each once.
        pause_s: The shortest time between two mails about an endpoint.
    """
    if endpoints:
        await link.execute(
            _SQL["note"],
            Kind.ENDPOINT_DISABLED,
            [one.app_id for one in endpoints],
            [one.endpoint_id for one in endpoints],
            [1] * len(endpoints),
            [one.fail_since for one in endpoints],
            [one.reason for one in endpoints],
            0.0,
            pause_s,
        )


async def note_exhausted(
    link: Link, places: Collection[tuple[str, str]], *, pause_s: float
) -> None:
    """Have apps told of messages that were given up, by app and endpoint of each."""
    if places:
        numbers = Counter(places)
        nothing = [None] * len(numbers)
        await link.execute(
            _SQL["note"],
            Kind.ATTEMPT_EXHAUSTED,
            [app_id for app_id, _ in numbers],
            [endpoint_id for _, endpoint_id in numbers],
            list(numbers.values()),
            nothing,
            nothing,
            GATHER_S,
            pause_s,
        )


async def claim(
    link: Link, claim_id: str, *, now: datetime, until: datetime, most: int
) -> list[Due]:
    """Claim what is due, and what soon will be of the same endpoints, for a while."""
    return [
        Due(
            key=Key(row["app_id"], row["endpoint_id"], row["kind"]),
            claim=claim_id,
            number=row["pending"],
            since=row["since"],
            last_at=row["last_at"],
            fail_since=row["fail_since"],
            reason=row["reason"],
            failures=row["failures"],
            failing_since=row["failing_since"],
        )
        for row in await link.fetch(_SQL["claim"], now, claim_id, until, most, GATHER_S)
    ]


async def about(link: Link, dues: Sequence[Due]) -> dict[Key, tuple[Reader, Trouble]]:
    """Give whom to tell what; what nobody is to be told of any more lacks."""
    by_key = {due.key: due for due in dues}
    found = {}
    for row in await link.fetch(_SQL["about"], *_columns(by_key)):
        key = Key(row["app_id"], row["endpoint_id"], row["kind"])
        found[key] = _reader(row), _trouble(by_key[key], row)
    return found


async def told(link: Link, dues: Sequence[Due], at: datetime, *, pause_s: float) -> None:
    """Note that things were told; what came in the meantime is told after a pause."""
    numbers = [due.number for due in dues]
    columns = _columns([due.key for due in dues])
    await link.execute(_SQL["told"], dues[0].claim, at, *columns, numbers, pause_s)


async def delayed(link: Link, dues: Sequence[Due], at: datetime, *, again_at: datetime) -> None:
    """Note that things were not told, and when they are tried again."""
    columns = _columns([due.key for due in dues])
    await link.execute(_SQL["delayed"], dues[0].claim, at, *columns, again_at)


async def release(link: Link, dues: Sequence[Due], at: datetime) -> None:
    """Give back what there was no time for."""
    columns = _columns([due.key for due in dues])
    await link.execute(_SQL["release"], dues[0].claim, at, *columns)


async def forget(link: Link, dues: Sequence[Due]) -> None:
    """Tell things no more."""
    await link.execute(_SQL["forget"], dues[0].claim, *_columns([due.key for due in dues]))


async def prune(link: Link, before: datetime) -> None:
    """Drop what was told before a time and has nothing more to tell."""
    await link.execute(_SQL["prune"], before)


async def waiting(link: Link) -> int:
    """Say of how many endpoints something is to be told, up to a million."""
    return int(await link.fetchval(_SQL["waiting"], _COUNTED))


def _reader(row: "asyncpg.Record") -> Reader:
    return Reader(
        app_id=row["app_id"],
        uid=row["uid"],
        name=row["name"],
        email=row["email"],
        settings=row["settings"],
    )


def _trouble(due: Due, row: "asyncpg.Record") -> Trouble:
    failure = None
    if row["started_at"] is not None:
        failure = Failure(at=row["started_at"], status=row["status"], detail=row["detail"])
    return Trouble(
        kind=due.key.kind,
        endpoint_id=due.key.endpoint_id,
        url=row["url"],
        number=due.number,
        since=due.since,
        last_at=due.last_at,
        fail_since=due.fail_since,
        reason=due.reason,
        failure=failure,
    )


def _columns(
    keys: Collection[Key] | Mapping[Key, object],
) -> tuple[list[str], list[str], list[str]]:
    return (
        [key.app_id for key in keys],
        [key.endpoint_id for key in keys],
        [key.kind for key in keys],
    )
