"""What attempts came to, in one transaction per batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from schema.delivery import Outcome, Reason, State, Trigger
from schema.store import columns, statements
from schema.store.link import Link

_SQL = statements.load("settle")


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """The log's line of one attempt."""

    id: str
    event_type: str
    trigger: Trigger
    verdict: str
    url: str
    started_at: datetime
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """Where a delivery stands now, and the attempt that brought it there (None: there was none).

    `attempts` counts that attempt. `disable` says in which words the endpoint is disabled as well.
    """

    app_id: str
    message_id: str
    endpoint_id: str
    state: State
    attempts: int
    failures: int
    run: int
    due_at: datetime | None = None
    reason: Reason | None = None
    attempt: AttemptRow | None = None
    disable: str | None = None


async def settle(
    link: Link,
    owner: str,
    epochs: Mapping[int, int],
    batch: Sequence[Settlement],
    *,
    now: datetime,
    letter_ids: Sequence[str],
) -> list[Settlement]:
    """Write a batch; give those whose deliveries were moved.

    A delivery is not moved if its shard's lease was lost or if it is not owed any more.

    Args:
        link: A connection; a transaction is made if more than one statement is needed.
        owner: The dispatcher.
        epochs: The shards that it holds, with their epochs.
        batch: At least one.
        now: The time of parking.
        letter_ids: A new id for each of the batch that is dead, in order.
    """
    if not any(s.state is State.DEAD or s.disable or s.run for s in batch):
        return await _move(link, owner, epochs, batch)
    async with link.transaction():
        moved = await _move(link, owner, epochs, batch)
        await _park(link, [s for s in moved if s.state is State.DEAD], now, letter_ids)
        arrived = [s for s in moved if s.run and s.state is State.DELIVERED]
        if arrived:
            await link.execute(_SQL["redelivered"], *_keys(arrived), now)
        refused = [s for s in moved if s.disable]
        if refused:
            await link.execute(
                _SQL["disable"],
                [s.app_id for s in refused],
                [s.endpoint_id for s in refused],
                [s.disable for s in refused],
                now,
            )
    return moved


async def _move(
    link: Link, owner: str, epochs: Mapping[int, int], batch: Sequence[Settlement]
) -> list[Settlement]:
    numbers = await link.fetchval(
        _SQL["settle"],
        list(epochs),
        list(epochs.values()),
        owner,
        *_columns(batch),
    )
    if numbers is not None and len(numbers) == len(batch):
        return list(batch)
    return [batch[number - 1] for number in numbers or ()]


def _columns(batch: Sequence[Settlement]) -> list[object]:
    """Give what `settle` takes, from $4 on."""
    deliveries = zip(*map(_delivery_row, batch), strict=True)
    *attempts, responses = zip(*map(_attempt_row, batch), strict=True)
    literals = (write(column) for write, column in zip(_DELIVERY, deliveries, strict=True))
    more = (write(column) for write, column in zip(_ATTEMPT, attempts, strict=True))
    return [*literals, *more, list(responses)]


async def _park(
    link: Link, dead: Sequence[Settlement], now: datetime, letter_ids: Sequence[str]
) -> None:
    if dead:
        reasons = [s.reason for s in dead]
        await link.execute(_SQL["park"], *_keys(dead), reasons, list(letter_ids[: len(dead)]), now)


def _keys(batch: Sequence[Settlement]) -> tuple[list[str], list[str], list[str]]:
    return (
        [s.app_id for s in batch],
        [s.message_id for s in batch],
        [s.endpoint_id for s in batch],
    )


def _delivery_row(s: Settlement) -> tuple[Any, ...]:
    return (
        s.app_id,
        s.message_id,
        s.endpoint_id,
        s.state,
        s.attempts,
        s.failures,
        s.due_at,
        s.reason,
    )


def _attempt_row(s: Settlement) -> tuple[Any, ...]:
    attempt = s.attempt
    if attempt is None:
        return _NO_ATTEMPT
    outcome = attempt.outcome
    return (
        attempt.id,
        attempt.event_type,
        int(attempt.trigger),
        attempt.verdict,
        attempt.url,
        outcome.status,
        outcome.fault,
        outcome.detail,
        attempt.started_at,
        outcome.duration_ms,
        _reals(outcome.phases_ms),
        outcome.address,
        outcome.reused,
        outcome.tls,
        orjson.dumps(dict(outcome.headers)).decode() if outcome.headers else None,
        outcome.truncated,
        outcome.body if outcome.status is not None else None,
    )


def _reals(values: tuple[float, ...]) -> str | None:
    """Write a real[] as text: arrays of arrays cannot be ragged."""
    return "{" + ",".join([f"{value:.3f}" for value in values]) + "}" if values else None


_DELIVERY: Final[tuple[Callable[[Any], str], ...]] = (
    columns.idents,
    columns.idents,
    columns.idents,
    columns.idents,
    columns.numbers,
    columns.numbers,
    columns.times,
    columns.texts,
)
_ATTEMPT: Final[tuple[Callable[[Any], str], ...]] = (
    columns.texts,
    columns.texts,
    columns.numbers,
    columns.texts,
    columns.texts,
    columns.numbers,
    columns.texts,
    columns.texts,
    columns.times,
    columns.numbers,
    columns.texts,
    columns.texts,
    columns.numbers,
    columns.texts,
    columns.texts,
    columns.numbers,
)
_NO_ATTEMPT: Final = (None,) * (len(_ATTEMPT) + 1)
