"""Dead letters, as the API reads and moves them; settling parks them.

Which letters are meant is a `Filter`, the same for lists, counts, exports and stored work.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

import asyncpg

from schema import ids
from schema.dead_letter import DeadLetter, ErrorClass, LetterState
from schema.delivery import Reason
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("dead_letter")
_LAST: Final = "~"  # sorts behind every id
_FIRST_AT: Final = datetime.fromtimestamp(ids.EPOCH_S, UTC)
_LAST_AT: Final = _FIRST_AT + timedelta(seconds=2**32 - 1)
_TIMES: Final = frozenset({"before", "after"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which letters are meant. None is all; of a list, any.

    Attributes:
        environment_id: They are of this one.
        app_ids: One costs the least.
        statuses: From and to, inclusive; no answer is 0.
        before: Parked first before this time (exclusive).
        after: Parked first at this time or later.
        least_attempts: So many, or more.
        most_attempts: So many, or fewer.
        text: Stands in the answer or in the detail of the fault, in any case of its letters.
        path: A JSON path of Postgres that gives something else than null or false of the payload.
    """

    environment_id: str
    app_ids: tuple[str, ...] | None = None
    endpoint_ids: tuple[str, ...] | None = None
    group_ids: tuple[str, ...] | None = None
    states: tuple[LetterState, ...] = (LetterState.PARKED,)
    event_types: tuple[str, ...] | None = None
    reasons: tuple[str, ...] | None = None
    error_classes: tuple[str, ...] | None = None
    fault: str | None = None
    statuses: tuple[int, int] | None = None
    before: datetime | None = None
    after: datetime | None = None
    least_attempts: int | None = None
    most_attempts: int | None = None
    text: str | None = None
    path: str | None = None

    @property
    def is_deep(self) -> bool:
        """Tell whether rows must be looked into: no index knows."""
        return self.text is not None or self.path is not None

    @property
    def bounds(self) -> tuple[str, str]:
        """Give the ids that all letters lie between, exclusive."""
        low = "" if self.after is None else _bound(self.after)
        return low, _LAST if self.before is None else _bound(self.before)

    def to_json(self) -> dict[str, Any]:
        """Write what is not as by default, as JSON."""
        return {
            field.name: _written(getattr(self, field.name))
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in written.items()
        }
        read |= {name: datetime.fromisoformat(read[name]) for name in _TIMES & read.keys()}
        if "states" in read:
            read["states"] = tuple(LetterState(state) for state in read["states"])
        return cls(**read)


async def by_id(link: Link, app_id: str, letter_id: str) -> DeadLetter | None:
    """Give a letter, whole."""
    row = await link.fetchrow(_SQL["by_id"], app_id, letter_id)
    return None if row is None else noun(row)


async def redeliver(link: Link, app_id: str, letter_id: str, at: datetime) -> bool:
    """Mark a letter as being on its way; False if it was already, or is not there."""
    return await link.fetchval(_SQL["redeliver"], app_id, letter_id, at) is not None


async def redeliver_of(
    link: Link, app_id: str, message_id: str, endpoint_id: str, at: datetime
) -> None:
    """Mark the letter of a delivery, if there is one, as being on its way."""
    await link.execute(_SQL["redeliver_of"], app_id, message_id, endpoint_id, at)


async def discard(link: Link, app_id: str, letter_id: str, at: datetime) -> bool:
    """Give a parked letter up for good; False if it is not parked."""
    return await link.fetchval(_SQL["discard"], app_id, letter_id, at) is not None


async def park_cancelled(link: Link, app_id: str, message_id: str, at: datetime) -> None:
    """Park the letters of a message again whose redelivery was called off."""
    await link.execute(_SQL["park_cancelled"], app_id, message_id, at)


async def parked(link: Link) -> int:
    """Count the parked letters."""
    number: int = await link.fetchval(_SQL["parked"])
    return number


async def oldest_parked(link: Link) -> datetime | None:
    """Say when the oldest of the parked letters was parked."""
    at: datetime | None = await link.fetchval(_SQL["oldest_parked"])
    return at


def noun(row: "asyncpg.Record", leave: Collection[str] = ()) -> DeadLetter:
    """Make a letter of a row with its columns; `leave` names those that are none of its own."""
    values = {name: value for name, value in row.items() if name not in leave}
    channels = values["channels"]
    values |= {
        "state": LetterState(values["state"]),
        "reason": Reason(values["reason"]),
        "error_class": ErrorClass(values["error_class"]),
        "channels": None if channels is None else tuple(channels),
    }
    return DeadLetter(**values)


def _written(value: object) -> object:
    if isinstance(value, tuple):
        return [_written(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, LetterState) else value


def _bound(at: datetime) -> str:
    return ids.first_id(ids.DEAD_LETTER, min(max(at, _FIRST_AT), _LAST_AT))
