"""Tasks: work on many deliveries that takes a while and outlives whoever does it.

A task is made by the gateway and done by dispatchers. It goes endpoint by endpoint (its parts),
each for itself, and keeps what became of every letter or message (its items).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Self

from schema import ids
from schema.store.dead_letter import Filter

LEAST_JUDGED: Final = 20  # items of a part before a share of failures says anything


class TaskKind(StrEnum):
    """What is done. Values are stored; all but `dead_letter.*` are Svix's."""

    REDELIVER = "dead_letter.redeliver"
    DISCARD = "dead_letter.discard"
    PURGE = "dead_letter.purge"
    RECOVER = "endpoint.recover"
    REPLAY = "endpoint.replay"
    BULK_REPLAY = "endpoint.bulk-replay"
    APP_STATS = "application.stats"
    EVENT_TYPES = "event-type.aggregate"
    PURGE_CONTENT = "application.purge_content"
    BROADCAST = "message.broadcast"
    EXPORT_OPENAPI = "sdk.generate"


OF_LETTERS: Final = frozenset({TaskKind.REDELIVER, TaskKind.DISCARD, TaskKind.PURGE})
MOST_NAMED: Final = 10_000  # apps of a broadcast, in what is told of it
COUNTING: Final = frozenset({TaskKind.APP_STATS, TaskKind.EVENT_TYPES, TaskKind.EXPORT_OPENAPI})
# Those that owe messages to endpoints, and see what becomes of it.
SENDING: Final = frozenset(
    {TaskKind.REDELIVER, TaskKind.RECOVER, TaskKind.REPLAY, TaskKind.BULK_REPLAY}
)


class TaskState(StrEnum):
    """Where a task stands. Values are stored."""

    SCHEDULED = "scheduled"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"


# What had been sent when a task was paused or cancelled still arrives, and is counted.
TASK_MOVES: Final[dict[TaskState, frozenset[TaskState]]] = {
    TaskState.SCHEDULED: frozenset({TaskState.RUNNING, TaskState.PAUSED, TaskState.CANCELLED}),
    TaskState.RUNNING: frozenset(
        {TaskState.PAUSED, TaskState.CANCELLED, TaskState.FINISHED, TaskState.FAILED}
    ),
    TaskState.PAUSED: frozenset({TaskState.RUNNING, TaskState.SCHEDULED, TaskState.CANCELLED}),
    TaskState.FINISHED: frozenset(),
    TaskState.FAILED: frozenset(),
    TaskState.CANCELLED: frozenset(),
}
ENDED: Final = frozenset({TaskState.FINISHED, TaskState.FAILED, TaskState.CANCELLED})


class ItemState(StrEnum):
    """What became of one letter or message. Values are stored.

    `done` is a letter that was discarded or purged, or a message that was published; `failed` one
    that is dead again.
    """

    SENT = "sent"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    FAILED = "failed"
    SKIPPED = "skipped"
    DONE = "done"


OPEN: Final = frozenset({ItemState.SENT, ItemState.RETRYING})


class PartState(StrEnum):
    """Whether there is more of a part to be chosen. Values are stored."""

    OPEN = "open"
    READ = "read"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """A message that is published for many apps. `headers` are those of its events besides."""

    event_type: str
    event_id: str | None
    payload: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that was asked for. None is no limit, or all.

    Attributes:
        letters: Which dead letters (kinds of `OF_LETTERS`).
        letter_ids: Of them, these alone.
        endpoint_id: Whose messages (the other kinds that send).
        app_ids: Of these apps (kinds of `COUNTING`).
        since: Messages of this time or later.
        until: Messages of before this time.
        event_types: Messages of these.
        channel: Messages that have it.
        tag: Messages that have it.
        statuses: Messages whose newest answer was from and to, inclusive; no answer is 0.
        delivery_states: Messages whose delivery stands so.
        to_endpoint_id: Sent to this one of the same app instead.
        newest_first: The other way round, within each endpoint.
        rate_per_s: Sent in a second, all endpoints together.
        concurrency: Sent and not attempted yet, at each endpoint.
        probe: So many are sent to an endpoint at first, and more only if all of them arrive.
        stop_percent: When more of an endpoint's first attempts fail, it gets no more.
        retry: A failed one is tried again by the endpoint's schedule; else it is parked at once.
        reason: Why letters are discarded or purged.
        publication: What is published.
    """

    letters: Filter | None = None
    letter_ids: tuple[str, ...] | None = None
    endpoint_id: str | None = None
    app_ids: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    event_types: tuple[str, ...] | None = None
    channel: str | None = None
    tag: str | None = None
    statuses: tuple[int, int] | None = None
    delivery_states: tuple[str, ...] | None = None
    to_endpoint_id: str | None = None
    newest_first: bool = False
    rate_per_s: float | None = None
    concurrency: int | None = None
    probe: int | None = None
    stop_percent: float | None = None
    retry: bool = True
    reason: str = ""
    publication: Publication | None = None

    def to_json(self) -> dict[str, Any]:
        """Write what is not as by default, as JSON."""
        return {
            field.name: _written(value)
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote."""
        read: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in written.items()
        }
        read |= {name: datetime.fromisoformat(read[name]) for name in _TIMES & read.keys()}
        if "letters" in read:
            read["letters"] = Filter.from_json(read["letters"])
        if "publication" in read:
            read["publication"] = Publication(**read["publication"])
        return cls(**read)


_TIMES: Final = frozenset({"since", "until"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task, with its counts.

    Attributes:
        app_id: Of which it is; None: of all of the environment.
        why: Why it ended as it did, for people.
        job_id: The caller's own name for it.
        total: How many there were to do when it began; `total_exact` False: so many or more.
        items: How many were chosen by now.
        open: Sent, and not ended yet.
        done: Letters that were discarded or purged, payloads forgotten, apps published for.
        created_by: The key.
    """

    environment_id: str
    id: str
    app_id: str | None
    kind: TaskKind
    state: TaskState
    why: str = ""
    plan: Plan
    job_id: str | None = None
    total: int | None = None
    total_exact: bool = False
    items: int = 0
    open: int = 0
    done: int = 0
    delivered: int = 0
    retrying: int = 0
    failed: int = 0
    skipped: int = 0
    created_at: datetime
    created_by: str | None = None
    start_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    updated_at: datetime

    @property
    def before(self) -> datetime:
        """Before which whatever it takes was made: not after it, as far as ids can tell."""
        return self.created_at + ids.MOMENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a task does at one endpoint.

    Attributes:
        app_id: None with `endpoint_id` None: all at once, nothing is sent.
        cursor: Behind which it goes on; "" is the beginning.
        sent: How many were sent.
        tried: Of them, those whose first attempt is over; `missed` of these failed.
        why: Why it was stopped, for people.
    """

    number: int
    app_id: str | None
    endpoint_id: str | None
    state: PartState = PartState.OPEN
    why: str = ""
    cursor: str = ""
    sent: int = 0
    tried: int = 0
    missed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What became of one letter or message.

    Attributes:
        number: In the order in which they were chosen, from 1.
        endpoint_id: To which it is sent.
        letter_id: The letter that it was, if one.
        run: Of the delivery, which was begun.
        detail: Why it was skipped or failed, for people.
        at: When it became so.
    """

    number: int
    part: int
    app_id: str
    message_id: str
    endpoint_id: str
    letter_id: str | None
    run: int | None
    state: ItemState
    detail: str
    at: datetime


def numbers_of(task: Task) -> dict[str, int]:
    """Give what Svix tells of a task that does not only count: of how many messages it was."""
    name = "messagesPurged" if task.kind is TaskKind.PURGE_CONTENT else "messagesSent"
    return {name: task.items - task.skipped}


def messages_of(items: Iterable[Item]) -> dict[str, list[dict[str, str]]]:
    """Give what Svix tells of a broadcast: the message of each app, or why it has none."""
    made, failed = [], []
    for item in items:
        if item.state is ItemState.SKIPPED:
            failed.append({"appId": item.app_id, "reason": item.detail})
        else:
            made.append({"appId": item.app_id, "msgId": item.message_id})
    return {"messagesCreated": made, "messagesFailed": failed}


def verdict_of(part: Part, plan: Plan) -> str | None:
    """Say why an endpoint is to get no more, or None."""
    if plan.probe is not None and part.missed and part.tried <= plan.probe:
        return f"{part.missed} of {part.tried} probes failed"
    if plan.stop_percent is not None and part.tried >= LEAST_JUDGED:
        percent = 100 * part.missed / part.tried
        if percent > plan.stop_percent:
            return f"{percent:.1f} % of {part.tried} failed"
    return None


def room_of(part: Part, plan: Plan, *, waiting: int, window: int) -> int:
    """Say how many more may be sent to an endpoint now.

    Args:
        part: Of the task.
        plan: Its limits.
        waiting: Sent, and not attempted yet.
        window: How many may be that, by what the endpoint takes.
    """
    most = window if plan.concurrency is None else min(window, plan.concurrency)
    if plan.probe is not None and part.tried < plan.probe:
        most = min(most, plan.probe - part.sent + waiting)
    return max(most - waiting, 0)


def _written(value: object) -> object:
    if isinstance(value, Filter):
        return value.to_json()
    if isinstance(value, Publication):
        return asdict(value)
    if isinstance(value, tuple):
        return list(value)
    return value.isoformat() if isinstance(value, datetime) else value
