"""One shard's events, pulled from the stream in order and without a gap.

Where an app crowds its shard, the others' events are read past the crowd by a bypass, a second
source of the same shard: they become rows sooner, and the first source finds them stored when it
comes to them. So nothing depends on what a bypass does.

The consumer is short-lived and acknowledges nothing: how far we are is `shard.position` in
Postgres. Pull requests are issued by hand on one inbox with a callback, as `fetch` costs a task and
a uuid for every message. A gap in the consumer's sequence, or a consumer that is gone, makes the
source begin again behind the last event that it handed on. Durations are seconds.
"""

import json
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from schema.event import SHARD_ROOT, Event, Rejection, shard_filters
from schema.store.intake import Stored

PULL: Final = 256  # events per request, at most
FEW: Final = 16  # events that wait for a shard; with more it does not stand beside those with few
CROWDED: Final = 512  # events that wait for a shard; with more, others are read past who crowds it
SAMPLE: Final = 256  # events of a crowded shard that its apps are counted in
_PASSED: Final = 65_536  # events that are remembered to have been taken by a bypass
_EVENT_BYTES: Final = 1_024  # what an event takes beside its body
EXPIRES_S: Final = 30.0  # of a request
HEARTBEAT_S: Final = 5.0  # the server says so often that it still looks after a request
SILENCE_S: Final = 12.0  # after which it does not
INACTIVE_S: Final = 120.0  # after which the server forgets the consumer
_NANOSECONDS: Final = 1_000_000_000
_SHORT_REPLY: Final = 9  # tokens of `$JS.ACK....` without domain and account hash


@dataclass(slots=True, kw_only=True, eq=False)
class Source:
    """What was pulled for a shard and is not taken yet.

    Attributes:
        position: The stream sequence of the last event that became rows.
        stored: Position and stream as they stand in Postgres.
        consumer: What an older one sends is not ours any more.
        outstanding: Events that the server still owes on our requests.
        heard_at: Loop's time of the last request, event or word of the server.
        pending: How many events the server holds behind the last one that it sent.
        wrote_at: Loop's time when Postgres last said how far we are.
        usual_bytes: The size of late events, the largest counting most.
        passes: The source that this one is a bypass of.
        names: The apps whose events a bypass reads.
        passed: What a bypass made of events, by sequence: messages (None), or rejected events.
        sample: The subjects of the last events that came while the source was crowded. Of those
            that wait here there may be none at any moment, as they are all in a batch.
    """

    shard: int
    epoch: int
    position: int
    stream_at: datetime | None = None
    stored: Stored = field(init=False)
    wrote_at: float = 0.0
    consumer: str = ""
    broken: bool = True
    taking: bool = False  # a batch of it is under way
    outstanding: int = 0
    heard_at: float = 0.0
    pending: int = 0
    usual_bytes: int = 65_536  # until events have told
    consumed: int = 0
    handed: int = 0  # the last sequence that went into a batch
    buffer: deque[Event] = field(default_factory=deque)
    passes: "Source | None" = None
    names: Sequence[str] = ()
    passed: dict[int, Rejection | None] = field(default_factory=dict)
    sample: deque[str] = field(default_factory=lambda: deque(maxlen=SAMPLE))

    def __post_init__(self) -> None:
        """Begin where Postgres says."""
        self.stored = Stored(self.position, self.stream_at)

    @property
    def waiting(self) -> int:
        """How many events are not rows yet, as far as the server has told."""
        return self.pending + len(self.buffer)

    @property
    def crowded(self) -> bool:
        """Tell whether so much waits that others should be read past who crowds the shard."""
        return self.waiting > CROWDED

    def bypass(self, names: Sequence[str]) -> "Source":
        """Make the source that reads the events of some apps past all others."""
        made = Source(
            shard=self.shard, epoch=self.epoch, position=self.position, stream_at=self.stream_at
        )
        made.passes, made.names = self, names
        return made

    def serves(self, owned: "Source | None") -> bool:
        """Tell whether this is the source that a shard has now, or a bypass of it."""
        return owned is not None and owned in (self, self.passes)

    @property
    def known(self) -> Mapping[int, Rejection | None]:
        """What bypasses of the shard made of events, by sequence."""
        return self.passed if self.passes is None else self.passes.passed

    def became(self, event: Event, rejection: Rejection | None) -> None:
        """Note what was made of an event: what a bypass makes, its crowded source comes to later.

        Of too many it is forgotten: they are taken for events that are known for another reason.
        """
        if self.passes is None:
            self.passed.pop(event.sequence, None)
        elif event.sequence > self.passes.position:
            passed = self.passes.passed
            if len(passed) >= _PASSED:
                passed.clear()
            passed[event.sequence] = rejection

    def has_handed(self, event: Event) -> bool:
        """Tell whether an event of a batch still counts: it does not after a new beginning."""
        return event.sequence <= self.handed

    def wrote(self, sequence: int, now: float) -> None:
        """Note that all events up to this one are rows."""
        self.position = sequence
        self.stored = Stored(sequence, self.stream_at)
        self.wrote_at = now

    def is_forgotten(self, stored: Stored, asked_at: float) -> bool:
        """Tell whether Postgres has lost what it had stored, by what it said when it was asked.

        It may have stored more than we have heard of.
        """
        ahead = stored.stream_at == self.stored.stream_at and stored >= self.stored
        return not ahead and self.wrote_at < asked_at

    def rewind(self, stored: Stored, now: float) -> None:
        """Begin anew where Postgres says that we are: it has forgotten what it had stored."""
        self.stored = stored
        self.wrote_at = now
        self.stream_at = stored.stream_at
        self._begin_behind(stored.sequence)

    def hand_on(self, most: int, most_bytes: int) -> list[Event]:
        """Give the oldest events to a batch: one, and more if there is room for them."""
        events = list[Event]()
        while self.buffer and len(events) < most:
            most_bytes -= len(self.buffer[0].body)
            if events and most_bytes < 0:
                break
            events.append(self.buffer.popleft())
            self.handed = events[-1].sequence
        return events

    def follows(self, stream_at: datetime, last: int) -> bool:
        """Tell whether the position counts in the stream of that time, which ends at `last`.

        While events come, `last` may be older than they are.
        """
        return self.stream_at == stream_at and not (self.broken and self.position > last)

    def restart(self, stream_at: datetime, last: int) -> None:
        """Begin anew with another stream, or behind the end of one that has lost its end."""
        known = self.stream_at is None or self.stream_at == stream_at
        self.stream_at = stream_at
        self._begin_behind(min(self.position, last) if known else 0)

    def _begin_behind(self, position: int) -> None:
        self.position = self.handed = position
        self.buffer.clear()
        self.passed.clear()
        self.sample.clear()
        self.broken = True

    def begin(self, consumer: str) -> None:
        """Note that a new consumer starts at `next_sequence`."""
        self.consumer = consumer
        self.broken = False
        self.outstanding = 0
        self.consumed = 0

    @property
    def next_sequence(self) -> int:
        """Where a new consumer has to start."""
        last = self.buffer[-1].sequence if self.buffer else max(self.position, self.handed)
        return last + 1

    def wants(self, most_bytes: int) -> int:
        """Say how many events to ask for now, so that about so many bytes wait here at most."""
        most = max(min(PULL, most_bytes // self.usual_bytes), 1)
        coming = len(self.buffer) + self.outstanding
        return 0 if self.broken or coming > most // 2 else most

    def asked(self, number: int, now: float) -> None:
        """Note a request."""
        self.outstanding += number
        self.heard_at = now

    def overdue(self, now: float) -> bool:
        """Tell whether a request, or who should answer it, was lost."""
        return self.outstanding > 0 and now - self.heard_at > SILENCE_S

    def accept(self, place: "Place", event: Event) -> None:
        """Take an event that the server sent; one that does not follow the last breaks us."""
        self.outstanding = max(self.outstanding - 1, 0)
        self.pending = place.pending
        if place.consumed != self.consumed + 1:
            self.broken = True  # something between was lost
        if self.broken:
            return
        self.consumed = place.consumed
        self.usual_bytes = max(len(event.body) + _EVENT_BYTES, self.usual_bytes * 15 // 16)
        self.buffer.append(event)
        if self.crowded:
            self.sample.append(event.subject)
        elif self.sample:
            self.sample.clear()

    def status(self, headers: Mapping[str, str]) -> None:
        """Take word that a request is over, or that the consumer is."""
        left = headers.get("Nats-Pending-Messages")
        status = headers.get("Status", "")
        if status in ("404", "408") and left is not None:
            self.outstanding = max(self.outstanding - int(left), 0)
        elif status != "100":
            self.broken = True  # consumer deleted, leader changed, no responders


class Place(NamedTuple):
    """Where an event stands: read from the subject that it would be acknowledged on."""

    consumer: str
    sequence: int  # in the stream
    consumed: int  # in the consumer
    at: datetime
    pending: int  # behind it


def read_place(reply: str) -> Place:
    """Read `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumed>.<time>.<pending>`.

    Newer servers may put domain and account hash in front of the stream.
    """
    tokens = reply.split(".")
    start = 3 if len(tokens) == _SHORT_REPLY else 5
    nanoseconds = int(tokens[start + 4])
    at = datetime.fromtimestamp(nanoseconds // _NANOSECONDS, UTC)
    return Place(
        tokens[start],
        int(tokens[start + 2]),
        int(tokens[start + 3]),
        at.replace(microsecond=nanoseconds % _NANOSECONDS // 1000),
        int(tokens[start + 5]),
    )


def consumer_request(stream: str, name: str, source: Source) -> bytes:
    """Make the body of `$JS.API.CONSUMER.CREATE` for a source."""
    filters = [f"{SHARD_ROOT}.{source.shard}.{name}.>" for name in source.names]
    filters = filters or shard_filters(source.shard)
    config: dict[str, Any] = {
        "name": name,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": source.next_sequence,
        "ack_policy": "none",
        "replay_policy": "instant",
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": int(INACTIVE_S * _NANOSECONDS),
    }
    config |= {"filter_subject": filters[0]} if len(filters) == 1 else {"filter_subjects": filters}
    return json.dumps({"stream_name": stream, "config": config, "action": ""}).encode()


def pull_request(number: int) -> bytes:
    """Make the body of `$JS.API.CONSUMER.MSG.NEXT`."""
    wanted = {
        "batch": number,
        "expires": int(EXPIRES_S * _NANOSECONDS),
        "idle_heartbeat": int(HEARTBEAT_S * _NANOSECONDS),
    }
    return json.dumps(wanted).encode()
