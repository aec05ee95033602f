"""From the stream into rows, exactly once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from schema.dead_letter import RejectedEvent
from schema.event import Draft
from schema.retry import MAX_ATTEMPTS
from schema.store import columns, days, statements
from schema.store.link import Link

_SQL = statements.load("intake")
_REJECTED_COLUMNS: Final = 11
_PLACES_SINCE_S: Final = 1_767_225_600  # 2026-01-01T00:00Z
_SEQUENCE_BITS: Final = 44


class Stored(NamedTuple):
    """A position as it stands in Postgres, and the stream that it counts in."""

    sequence: int
    stream_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a shard's intake has come: on the stream that was created at `stream_at`.

    `known` is what was stored of both before, `events` how many of the batch are the shard's.
    What is `beside` was read past a crowd of other events: it is written, and moves no position.
    """

    epoch: int
    sequence: int
    stream_at: datetime | None
    known: "Stored"
    events: int
    beside: bool = False


def place_of(stream_at: datetime | None, sequence: int) -> int:
    """Give an event's place in order: by stream, as a new one counts from 1 again, then sequence.

    The hours until the stream was created, then 44 bits of sequence: enough for 59 years.
    """
    seconds = stream_at.timestamp() - _PLACES_SINCE_S if stream_at is not None else 0.0
    return max(int(seconds) // 3600, 0) << _SEQUENCE_BITS | sequence


class Taking:
    """What one statement of the intake writes, as columns.

    Attributes:
        events: How many events were added.
        once: The deliveries (app, message, endpoint) that are tried once.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._events: list[tuple[Any, ...]] = []
        self._payloads: list[bytes] = []
        self._deliveries: list[tuple[Any, ...]] = []
        self._places: list[int | None] = []
        self._due: list[datetime | None] = []
        self._keyed: list[bool] = []
        self._deliver_at: list[datetime | None] = []
        self._payload_until: list[datetime | None] = []
        self._params: list[str | None] = []
        self._rejected: list[tuple[object, ...]] = []
        self._origins: list[tuple[str, str, str | None, str | None]] = []
        self.once: list[tuple[str, str, str]] = []

    @property
    def events(self) -> int:
        """How many events were added."""
        return len(self._events)

    def add(self, source: int, app_id: str, draft: Draft) -> int:
        """Add an event that came from shard `source`; give its number, from 1."""
        self._events.append(
            (
                source,
                app_id,
                draft.message_id,
                draft.event_type,
                draft.event_id,
                _joined(draft.channels),
                _joined(draft.tags),
                draft.content_type,
                draft.at.isoformat(),
            )
        )
        self._payloads.append(draft.body)
        self._keyed.append(draft.keyed)
        self._deliver_at.append(draft.deliver_at)
        self._payload_until.append(draft.payload_until)
        self._params.append(draft.params)
        if draft.endpoint_id or draft.letter_id:
            origin = (app_id, draft.message_id, draft.endpoint_id, draft.letter_id)
            self._origins.append(origin)
            if draft.once and draft.endpoint_id:
                self.once.append((app_id, draft.message_id, draft.endpoint_id))
        return len(self._events)

    def fan_out(
        self, number: int, endpoint_id: str, shard: int, *, foreign: bool, place: int | None = None
    ) -> None:
        """Add a delivery of event `number`; `foreign`: another process owns its shard.

        `place` is for ordered endpoints.
        """
        _, app_id, message_id, *_, at = self._events[number - 1]
        self._deliveries.append((app_id, message_id, endpoint_id, shard, foreign, at))
        self._places.append(place)
        self._due.append(self._deliver_at[number - 1])

    def reject(self, source: int, event: RejectedEvent) -> None:
        """Add an event that cannot become a message."""
        self._rejected.append((source, *_rejected_row(event)))

    def days(self) -> tuple[list[str], list[date]]:
        """Give the first message ids of the days that the messages are of, and the days."""
        return days.of(event[2] for event in self._events)

    def origins(self) -> list[list[str | None]]:
        """Give the messages that are for one endpoint, or were made of dead letters, as columns."""
        return [[origin[n] for origin in self._origins] for n in range(4)]

    def places(self) -> str:
        """Give the places of the deliveries, for the statement's last parameter."""
        return columns.numbers(self._places)

    def seldom(self) -> list[str | None]:
        """Give the columns that few messages say something in, None for those where none does."""
        return [
            columns.numbers(self._keyed) if any(self._keyed) else None,
            *(
                columns.times(column) if any(column) else None
                for column in (self._deliver_at, self._payload_until, self._due)
            ),
        ]

    def params(self) -> str | None:
        """Give what transformations are told besides, None where no message tells anything."""
        return columns.texts(self._params) if any(self._params) else None

    def columns(self) -> list[object]:
        """Give what the statement takes after its four fixed parameters."""
        return [
            *_written(self._events, _EVENT),
            *columns.parts(self._payloads),
            *_written(self._deliveries, _DELIVERY),
            *_written(self._rejected, (list,) * _REJECTED_COLUMNS),
        ]


class Answer(NamedTuple):
    """What came of a batch.

    Attributes:
        fenced: The shards whose events were written: those that are still held.
        repeated: Numbers of the events that were known already.
        moved: Shards that are held, but stand elsewhere than was known: nothing of theirs was
            written either, they have to be read again from there.
    """

    fenced: set[int]
    repeated: set[int]
    moved: dict[int, Stored]


async def take(link: Link, owner: str, positions: Mapping[int, Position], taking: Taking) -> Answer:
    """Write a batch and move the positions, in one statement unless something is tried once.

    Postgres may forget the newest of these statements when it crashes, but only from the end.

    Args:
        link: Where to.
        owner: The dispatcher.
        positions: By source shard.
        taking: What to write.
    """
    if not taking.once:
        return await _take(link, owner, positions, taking)
    async with link.transaction():
        answer = await _take(link, owner, positions, taking)
        once = (list(column) for column in zip(*taking.once, strict=True))
        await link.execute(_SQL["once"], *once, MAX_ATTEMPTS)
    return answer


async def _take(
    link: Link, owner: str, positions: Mapping[int, Position], taking: Taking
) -> Answer:
    places = positions.values()
    (row,) = await link.fetch(
        _SQL["take"],
        list(positions),
        [place.epoch for place in places],
        [place.sequence for place in places],
        owner,
        *taking.columns(),
        [place.stream_at for place in places],
        taking.places(),
        [place.known.sequence for place in places],
        [place.known.stream_at for place in places],
        *taking.days(),
        [place.events for place in places],
        *taking.origins(),
        *taking.seldom(),
        [place.beside for place in places],
        taking.params(),
    )
    stored = map(Stored, row["moved_positions"] or (), row["moved_streams"] or ())
    return Answer(
        fenced=set(row["fenced"] or ()),
        repeated=set(row["repeated"] or ()),
        moved=dict(zip(row["moved_ids"] or (), stored, strict=True)),
    )


async def taken_event_ids(link: Link, wanted: Sequence[tuple[str, str, str]]) -> set[int]:
    """Of (app, event id, message id), give the indexes of those whose event id is another's."""
    rows = await link.fetch(_SQL["known_event_ids"], *(list(c) for c in zip(*wanted, strict=True)))
    return {row["number"] - 1 for row in rows}


async def reject(link: Link, event: RejectedEvent) -> None:
    """Write one rejected event that is not of a batch."""
    await link.execute(_SQL["reject"], *_rejected_row(event))


def _rejected_row(event: RejectedEvent) -> tuple[object, ...]:
    return (
        event.id,
        event.environment_id,
        event.app,
        event.subject,
        event.headers,
        event.body,
        event.reason,
        event.detail,
        event.sequence,
        event.created_at,
    )


def _written(
    rows: Sequence[tuple[Any, ...]], writers: Sequence[Callable[[Any], object]]
) -> list[object]:
    found = zip(*rows, strict=True) if rows else ((),) * len(writers)
    return [write(column) for write, column in zip(writers, found, strict=True)]


def _joined(values: tuple[str, ...] | None) -> str | None:
    return None if values is None else ",".join(values)


_EVENT: Final[tuple[Callable[[Any], object], ...]] = (
    columns.numbers,
    columns.idents,
    columns.idents,
    columns.texts,
    columns.texts,
    columns.texts,
    columns.texts,
    columns.texts,
    columns.idents,
)
_DELIVERY: Final[tuple[Callable[[Any], object], ...]] = (
    columns.idents,
    columns.idents,
    columns.idents,
    columns.numbers,
    columns.numbers,
    columns.idents,
)
