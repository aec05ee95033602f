"""Figures of the whole installation, read from Postgres and NATS and kept for a while.

Lag of the stream: the events behind each shard's position, that is those that no intake has turned
into rows, summed over the shards. The stream is asked for the first such event of each shard and
how many follow it; that a stretch holds none is remembered, so that a quiet shard, whose position
stays far behind, costs no search.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg
import nats.errors
import orjson

from gateway.parts import Parts
from schema import stream
from schema.errors import Unavailable
from schema.event import shard_filters
from schema.store import (
    alert_rule,
    dead_letter,
    delivery,
    health,
    operational,
    reconciliation,
    shard,
)
from schema.store.link import Link

_KEPT_S: Final = 5.0
_KEPT_PER_COST: Final = 20  # and this many times as long as reading took
_ANSWER_S: Final = 2.0
_AT_ONCE: Final = 8  # questions to the stream
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One number with its name."""

    name: str
    meaning: str
    value: float
    state: str = ""  # a label, if there are several of the name


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What could be read, and which parts answered."""

    values: Sequence[Figure]
    reachable: Mapping[str, bool]


class Reader:
    """Reads the figures, not more often than they are worth."""

    def __init__(self) -> None:
        """Start without any."""
        self._lock = asyncio.Lock()
        self._figures: Figures | None = None
        self._until_s = 0.0
        self._empty_to: dict[str, int] = {}

    async def read(self, given: Parts) -> Figures:
        """Give the figures, read now or a moment ago."""
        async with self._lock:
            started_s = time.monotonic()
            if self._figures is None or started_s >= self._until_s:
                self._figures = await self._read(given)
                ended_s = time.monotonic()
                kept_s = max(_KEPT_S, _KEPT_PER_COST * (ended_s - started_s))
                self._until_s = ended_s + kept_s
            return self._figures

    async def _read(self, given: Parts) -> Figures:
        values: list[Figure] = []
        reachable = {"postgres": False, "nats": False}
        positions: Mapping[int, int] = {}
        try:
            async with given.connection() as link:
                positions = await shard.positions(link)
                owed, due_at = await delivery.owed(link)
                parked = await dead_letter.parked(link)
                parked_at = await dead_letter.oldest_parked(link)
                values += await _of_operators(link)
                values.append(await _difference(link))
            values += _of_postgres(owed, due_at, parked, parked_at, given.clock())
            reachable["postgres"] = True
        except (Unavailable, asyncpg.PostgresError) as error:
            _log.warning("figures of Postgres cannot be read: %s", error)
        try:
            values += await self._of_nats(given, positions)
            reachable["nats"] = True
        except (nats.errors.Error, OSError, TimeoutError, LookupError, ValueError) as error:
            _log.warning("figures of NATS cannot be read: %r", error)
        return Figures(values=values, reachable=reachable)

    async def _of_nats(self, given: Parts, positions: Mapping[int, int]) -> list[Figure]:
        subject = stream.info_subject(given.config.stream)
        answer = await given.bus.request(subject, b"", timeout=_ANSWER_S)
        state = orjson.loads(answer.data)["state"]
        values = [
            Figure(name="hookline_stream_bytes", meaning="Bytes that the stream holds.",
                   value=state["bytes"]),
            Figure(name="hookline_stream_events", meaning="Events that the stream holds.",
                   value=state["messages"]),
        ]  # fmt: skip
        if not positions:
            return values
        last: int = state["last_seq"]
        if last < max(self._empty_to.values(), default=0):  # the stream was made anew
            self._empty_to.clear()
        lag, oldest_at = await self._lag(given, positions, last)
        age_s = 0.0 if oldest_at is None else (given.clock() - oldest_at).total_seconds()
        return [
            *values,
            Figure(name="hookline_stream_lag",
                   meaning="Events of the stream that are not rows yet.", value=lag),
            Figure(name="hookline_stream_oldest_seconds",
                   meaning="Age of the oldest event that is not a row yet.", value=max(0.0, age_s)),
        ]  # fmt: skip

    async def _lag(
        self, given: Parts, positions: Mapping[int, int], last: int
    ) -> tuple[int, datetime | None]:
        gate = asyncio.Semaphore(_AT_ONCE)

        async def one(wanted: str, position: int) -> tuple[int, datetime | None]:
            # A position behind the end counts in a stream that is no more.
            start = max(position if position <= last else 0, self._empty_to.get(wanted, 0))
            if start == last:
                return 0, None
            async with gate:
                found = await _behind(given, wanted, start + 1)
            if found is None:
                self._empty_to[wanted] = last
                return 0, None
            return found

        answers = await asyncio.gather(
            *(
                one(wanted, position)
                for number, position in positions.items()
                for wanted in shard_filters(number)
            )
        )
        ages = [at for _, at in answers if at is not None]
        return sum(number for number, _ in answers), min(ages, default=None)


async def _behind(given: Parts, wanted: str, start: int) -> tuple[int, datetime] | None:
    """Say how many events there are from a sequence on, and when the first came; None if none."""
    subject = stream.count_subject(given.config.stream)
    asked = stream.count_request(wanted, start)
    return stream.read_count((await given.bus.request(subject, asked, timeout=_ANSWER_S)).headers)


def _of_postgres(
    owed: int,
    due_at: datetime | None,
    parked: int,
    parked_at: datetime | None,
    now: datetime,
) -> list[Figure]:
    return [
        Figure(name="hookline_deliveries_owed",
               meaning="Deliveries that are owed, due or not.", value=owed),
        Figure(name="hookline_oldest_due_seconds",
               meaning="How long the oldest delivery to an active endpoint has been due.",
               value=_age_s(due_at, now)),
        Figure(name="hookline_dead_letters_parked",
               meaning="Dead letters that are parked.", value=parked),
        Figure(name="hookline_oldest_parked_seconds",
               meaning="How long the oldest dead letter has been parked.",
               value=_age_s(parked_at, now)),
    ]  # fmt: skip


async def _of_operators(link: Link) -> list[Figure]:
    return [
        Figure(name="hookline_operational_events_waiting",
               meaning="Operational events that are not published yet.",
               value=await operational.waiting(link)),
        Figure(name="hookline_alerts_raised",
               meaning="Alert rules that are raised.", value=await alert_rule.raised(link)),
        *(Figure(name="hookline_endpoints", meaning="Endpoints of all apps, by how they fare.",
                 value=number, state=state)
          for state, number in (await health.by_state(link)).items()),
    ]  # fmt: skip


async def _difference(link: Link) -> Figure:
    return Figure(name="hookline_reconciliation_difference",
                  meaning="Deliveries that were accepted and are not there, or are too many.",
                  value=await reconciliation.difference(link))  # fmt: skip


def _age_s(at: datetime | None, now: datetime) -> float:
    return 0.0 if at is None else max(0.0, (now - at).total_seconds())
