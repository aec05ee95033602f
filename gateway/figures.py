"""Figures of the whole installation, read from Postgres and NATS and kept for a while."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg
import nats.errors

from gateway.lag import Lag, stream_state
from gateway.parts import Parts
from schema.errors import Unavailable
from schema.store import (
    alert_mail,
    alert_rule,
    attempt_log,
    dead_letter,
    delivery,
    endpoint_certificate,
    health,
    operational,
    otel,
    reconciliation,
    shard,
)
from schema.store.link import Link

_KEPT_S: Final = 5.0
_SOON: Final = timedelta(days=14)
_KEPT_PER_COST: Final = 20  # and this many times as long as reading took
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
        self._lag = Lag()

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
                values += await _of_certificates(link, given.clock())
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
        state = await stream_state(given)
        values = [
            Figure(name="hookline_stream_bytes", meaning="Bytes that the stream holds.",
                   value=state["bytes"]),
            Figure(name="hookline_stream_events", meaning="Events that the stream holds.",
                   value=state["messages"]),
        ]  # fmt: skip
        if not positions:
            return values
        lag, oldest_at = await self._lag.read(given, positions, state["last_seq"])
        age_s = 0.0 if oldest_at is None else (given.clock() - oldest_at).total_seconds()
        return [
            *values,
            Figure(name="hookline_stream_lag",
                   meaning="Events of the stream that are not rows yet.", value=lag),
            Figure(name="hookline_stream_oldest_seconds",
                   meaning="Age of the oldest event that is not a row yet.", value=max(0.0, age_s)),
        ]  # fmt: skip


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
        Figure(name="hookline_attempt_log_waiting",
               meaning="Attempts that operators are still to be told of.",
               value=await attempt_log.waiting(link)),
        Figure(name="hookline_otel_waiting",
               meaning="Attempts that are still to be exported to collectors.",
               value=await otel.waiting(link)),
        Figure(name="hookline_alert_mails_waiting",
               meaning="Endpoints of which something is still to be told by mail.",
               value=await alert_mail.waiting(link)),
        Figure(name="hookline_alerts_raised",
               meaning="Alert rules that are raised.", value=await alert_rule.raised(link)),
        *(Figure(name="hookline_endpoints", meaning="Endpoints of all apps, by how they fare.",
                 value=number, state=state)
          for state, number in (await health.by_state(link)).items()),
    ]  # fmt: skip


async def _of_certificates(link: Link, now: datetime) -> list[Figure]:
    ended, ending = await endpoint_certificate.ending(link, now, now + _SOON)
    return [
        Figure(name="hookline_endpoint_certificates",
               meaning="Certificates set for endpoints that have expired, or will in two weeks.",
               value=value, state=state)
        for state, value in (("expired", ended), ("expiring", ending))
    ]  # fmt: skip


async def _difference(link: Link) -> Figure:
    return Figure(name="hookline_reconciliation_difference",
                  meaning="Deliveries that were accepted and are not there, or are too many.",
                  value=await reconciliation.difference(link))  # fmt: skip


def _age_s(at: datetime | None, now: datetime) -> float:
    return 0.0 if at is None else max(0.0, (now - at).total_seconds())
