"""What attempts came to, in one transaction per batch."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

import orjson

from schema.delivery import Outcome, Reason, State, Trigger
from schema.fingerprint import fingerprint
from schema.operational import FAILING_AFTER, Kind
from schema.retry import MAX_ATTEMPTS
from schema.store import alert_mail, columns, operational, statements
from schema.store.alert_mail import Disabled
from schema.store.link import Link
from schema.store.operational import AttemptNote

_SQL = statements.load("settle")


class AttemptRow(NamedTuple):
    """The log's line of one attempt."""

    id: str
    event_type: str
    trigger: Trigger
    verdict: str
    url: str
    started_at: datetime
    outcome: Outcome


class Settlement(NamedTuple):
    """Where a delivery stands now, and the attempt that brought it there (None: there was none).

    A named tuple, as the log's line is, because one is made per delivery.
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
    told: Collection[str] = (),
    traces: bool = False,
    mail_pause_s: float | None = None,
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
        told: The kinds of operational events that anybody wants; others need not be written.
        traces: Whether any environment may have its attempts exported; the statement looks again.
        mail_pause_s: The shortest time between two mails about an endpoint, where an app may be
            told by mail; None: none is.
    """
    stage = (Kind.ATTEMPT_LOG in told, traces)
    tells = told and any(s.failures >= FAILING_AFTER or s.state is State.DEAD for s in batch)
    if not tells and not any(s.state is State.DEAD or s.disable or s.run for s in batch):
        return await _move(link, owner, epochs, batch, stage)
    async with link.transaction():
        moved = await _move(link, owner, epochs, batch, stage)
        await _park(link, [s for s in moved if s.state is State.DEAD], now, letter_ids)
        await _note_redelivered(link, moved, now)
        disabled = await _disable(link, [s for s in moved if s.disable], now)
        if mail_pause_s is not None:
            await _note_for_mails(link, moved, disabled, mail_pause_s)
        if tells:
            await operational.note_attempts(link, [n for s in moved if (n := _note(s, told))])
    return moved


async def _note_redelivered(link: Link, moved: Sequence[Settlement], now: datetime) -> None:
    """Note with dead letters under redelivery what became of them, where it is decided."""
    for state, statement in ((State.DELIVERED, "redelivered"), (State.CANCELLED, "called_off")):
        found = [s for s in moved if s.run and s.state is state]
        if found:
            await link.execute(_SQL[statement], *_keys(found), now)


async def _note_for_mails(
    link: Link, moved: Sequence[Settlement], disabled: Sequence[Disabled], pause_s: float
) -> None:
    """Note what apps are told by mail: endpoints disabled, deliveries given up."""
    await alert_mail.note_disabled(link, disabled, pause_s=pause_s)
    given_up = [(s.app_id, s.endpoint_id) for s in moved if s.state is State.DEAD and s.attempt]
    await alert_mail.note_exhausted(link, given_up, pause_s=pause_s)


async def _move(
    link: Link,
    owner: str,
    epochs: Mapping[int, int],
    batch: Sequence[Settlement],
    stage: tuple[bool, bool],
) -> list[Settlement]:
    numbers = await link.fetchval(
        _SQL["settle"],
        list(epochs),
        list(epochs.values()),
        owner,
        *_columns(batch),
        *stage,
    )
    if numbers is not None and len(numbers) == len(batch):
        return list(batch)
    return [batch[number - 1] for number in numbers or ()]


def _columns(batch: Sequence[Settlement]) -> list[object]:
    """Give what `settle` takes, from $4 to $30."""
    return [
        columns.idents([s.app_id for s in batch]),
        columns.idents([s.message_id for s in batch]),
        columns.idents([s.endpoint_id for s in batch]),
        columns.idents([s.state for s in batch]),
        columns.numbers([s.attempts for s in batch]),
        columns.numbers([s.failures for s in batch]),
        columns.times([s.due_at for s in batch]),
        columns.texts([s.reason for s in batch]),
        *_attempt_columns([s.attempt or _NO_ATTEMPT for s in batch]),
    ]


def _attempt_columns(attempts: Sequence[AttemptRow]) -> list[object]:
    """Give the columns of the log; a line without an id is none."""
    outcomes = [attempt.outcome for attempt in attempts]
    headers = {outcome.headers for outcome in outcomes}
    written = {h: orjson.dumps(h).decode() if h else None for h in headers}
    return [
        columns.texts([a.id or None for a in attempts]),
        columns.texts([a.event_type for a in attempts]),
        columns.numbers([int(a.trigger) for a in attempts]),
        columns.texts([a.verdict for a in attempts]),
        columns.texts([a.url for a in attempts]),
        columns.numbers([o.status for o in outcomes]),
        columns.texts([o.fault for o in outcomes]),
        columns.texts([o.detail for o in outcomes]),
        columns.times([a.started_at if a.id else None for a in attempts]),
        columns.numbers([o.duration_ms for o in outcomes]),
        columns.texts([_reals(o.phases_ms) for o in outcomes]),
        columns.texts([o.address for o in outcomes]),
        columns.numbers([o.reused for o in outcomes]),
        columns.texts([o.tls for o in outcomes]),
        columns.texts([written[o.headers] for o in outcomes]),
        columns.numbers([o.truncated for o in outcomes]),
        *columns.parts([o.body if o.status is not None else None for o in outcomes]),
    ]


async def _park(
    link: Link, dead: Sequence[Settlement], now: datetime, letter_ids: Sequence[str]
) -> None:
    if dead:
        await link.execute(
            _SQL["park"],
            *_keys(dead),
            [s.reason for s in dead],
            list(letter_ids[: len(dead)]),
            now,
            [fingerprint(s.reason, s.attempt.outcome if s.attempt else None) for s in dead],
        )


async def _disable(link: Link, refused: Sequence[Settlement], now: datetime) -> list[Disabled]:
    """Disable endpoints; give those that were not disabled yet."""
    rows = []
    if refused:
        rows = await link.fetch(
            _SQL["disable"],
            [s.app_id for s in refused],
            [s.endpoint_id for s in refused],
            [s.disable for s in refused],
            now,
        )
        about = {"trigger": "automatic", "failSince": None}
        await operational.note_endpoints(
            link,
            Kind.ENDPOINT_DISABLED,
            [(r["app_id"], r["id"], about | {"reason": r["state_reason"]}) for r in rows],
        )
    return [Disabled(row["app_id"], row["id"], row["state_reason"]) for row in rows]


def _note(settlement: Settlement, told: Collection[str]) -> AttemptNote | None:
    """Say what is to be told of a settlement: the fourth failure, the last, or the end of it."""
    attempt, failures = settlement.attempt, settlement.failures
    if attempt is None:
        return None
    if settlement.state is State.DEAD:
        kind = Kind.ATTEMPT_EXHAUSTED
    elif settlement.state is State.RETRYING and failures == FAILING_AFTER:
        kind = Kind.ATTEMPT_FAILING
    elif attempt.verdict == "delivered" and FAILING_AFTER <= failures < MAX_ATTEMPTS:
        kind = Kind.ATTEMPT_RECOVERED
    else:
        return None
    if kind not in told:
        return None
    return AttemptNote(
        kind=kind,
        app_id=settlement.app_id,
        message_id=settlement.message_id,
        endpoint_id=settlement.endpoint_id,
        attempt_id=attempt.id,
        status=attempt.outcome.status,
        started_at=attempt.started_at,
    )


def _keys(batch: Sequence[Settlement]) -> tuple[list[str], list[str], list[str]]:
    return (
        [s.app_id for s in batch],
        [s.message_id for s in batch],
        [s.endpoint_id for s in batch],
    )


def _reals(values: tuple[float, ...]) -> str | None:
    """Write a real[] as text: arrays of arrays cannot be ragged."""
    return "{" + ",".join([f"{value:.3f}" for value in values]) + "}" if values else None


_NO_ATTEMPT: Final = AttemptRow(
    id="",
    event_type="",
    trigger=Trigger.SCHEDULED,
    verdict="",
    url="",
    started_at=datetime.min.replace(tzinfo=UTC),
    outcome=Outcome(),
)
