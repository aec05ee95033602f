"""(g) When a retry comes, against when it was due; (r) the pace of a limited endpoint.

The receiver fails the first two attempts of each tenth event: an endpoint that fails them all would
be left alone for a while. When a retry is due says the attempt log (`next_attempt_at`); when it
came say the receiver and the log's own start, whichever is earlier. What the log says is checked
too: no retry may come sooner after the failure than the schedule has.
"""

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg

from tests.load.arithmetic import most_in_a_second, percentile, use_of_rate
from tests.load.payload import Kind, sql_number
from tests.load.site import Run, Site, opened, patience_s
from tests.load.table import Figure, at_least, at_most
from tests.load.waiting import until
from tests.load.workers import Arrival

_WAITS_S: Final = (1.0, 2.0)
_EVENTS_PER_S: Final = 200.0
_EVENTS_OF_A_FAILURE: Final = 10
_MOST_LATE_MS: Final = 250.0
_LIMIT: Final = 200  # deliveries a second
_LEAST_USE: Final = 98.0  # per cent
_COUNT: Final = "SELECT count(*) FROM attempt WHERE app_id = $1"
_PUBLISHED_S: Final = 2.0  # more than is looked at, so that there is always a backlog


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """A retry of an event: when it was due and when it came; the failure before it."""

    due_at: datetime
    started_at: datetime  # by the log
    arrived_at: datetime  # at the receiver
    failed_arrival_at: datetime
    wait_s: float

    @property
    def late_ms(self) -> float:
        """Tell how long after it was due it came."""
        return (self.arrived_at - self.due_at) / timedelta(milliseconds=1)

    @property
    def is_early(self) -> bool:
        """Tell whether it came before it was due, or sooner than the schedule allows."""
        gap_s = (self.arrived_at - self.failed_arrival_at).total_seconds()
        return min(self.started_at, self.arrived_at) < self.due_at or gap_s < self.wait_s


async def retries(run: Run) -> AsyncGenerator[Figure]:
    """Measure how punctual retries are."""
    async with opened(run) as site:
        app_id = await site.here.with_endpoint(
            site.receiver.url(Kind.FAIL), retryPolicy=list(_WAITS_S)
        )
        await site.here.start_and_own(1)
        seconds = run.scale.punctual_s
        await site.paced(app_id, rate=_EVENTS_PER_S, seconds=seconds)
        events = round(_EVENTS_PER_S * seconds)
        attempts = events + events // _EVENTS_OF_A_FAILURE * len(_WAITS_S)
        await _until_logged(site, app_id, attempts)
        came = await site.receiver.arrivals(run.directory)
        found = _retries(await _logged(site, app_id), came)
        for figure in _punctuality(found):
            yield figure


async def pace(run: Run) -> AsyncGenerator[Figure]:
    """Measure the pace of an endpoint with a limit and a backlog."""
    async with opened(run) as site:
        app_id = await site.here.with_endpoint(site.receiver.url(), rateLimit=_LIMIT)
        await site.here.start_and_own(1)
        seconds = run.scale.rate_s
        await site.flood(app_id, number=round(_LIMIT * (seconds + _PUBLISHED_S)))
        await site.wait_for(round(_LIMIT * seconds))
        came = await site.receiver.arrivals(run.directory)
        times_ns = [one.arrival_ns for one in came][: round(_LIMIT * seconds)]
        yield Figure(
            name=f"limit of {_LIMIT}/s: most in any second",
            value=most_in_a_second(times_ns),
            unit="",
            held_to=at_most(_LIMIT),
            samples=len(times_ns),
        )
        yield Figure(
            name=f"limit of {_LIMIT}/s: used under backlog",
            value=use_of_rate(times_ns, _LIMIT) * 100,
            unit="%",
            held_to=at_least(_LEAST_USE),
        )


def _punctuality(found: Sequence[Retry]) -> list[Figure]:
    late_ms = [one.late_ms for one in found]
    early = sum(one.is_early for one in found)
    return [
        Figure(name="retries early", value=early, unit="", held_to=at_most(0), samples=len(found)),
        Figure(name="retries late, p50", value=percentile(late_ms, 50), unit="ms"),
        Figure(
            name="retries late, p99",
            value=percentile(late_ms, 99),
            unit="ms",
            held_to=at_most(_MOST_LATE_MS),
        ),
        Figure(name="retries late, max", value=max(late_ms), unit="ms"),
    ]


async def _until_logged(site: Site, app_id: str, attempts: int) -> None:
    async with site.here.link() as link:

        async def logged() -> bool:
            return bool(await link.fetchval(_COUNT, app_id) >= attempts)

        await until(logged, f"{attempts} attempts in the log", most_s=patience_s(attempts))


async def _logged(site: Site, app_id: str) -> Sequence[asyncpg.Record]:
    """Read each attempt's event, number, start, and when the next was due."""
    async with site.here.link() as link:
        return await link.fetch(
            f"""SELECT {sql_number("m.payload")} AS event, a.number, a.started_at, a.next_attempt_at
                FROM attempt AS a JOIN message AS m ON m.app_id = a.app_id AND m.id = a.message_id
                WHERE a.app_id = $1 ORDER BY a.number""",
            app_id,
        )


def _retries(logged: Sequence[asyncpg.Record], came: Sequence[Arrival]) -> list[Retry]:
    """Put the log and what the receiver saw together."""
    offset_ns = time.time_ns() - time.monotonic_ns()
    arrived = dict[int, list[datetime]]()
    for one in came:
        at = datetime.fromtimestamp((one.arrival_ns + offset_ns) / 1e9, UTC)
        arrived.setdefault(one.number, []).append(at)
    due = {(row["event"], row["number"]): row["next_attempt_at"] for row in logged}
    return [
        Retry(
            due_at=due[row["event"], row["number"] - 1],
            started_at=row["started_at"],
            arrived_at=arrived[row["event"]][row["number"] - 1],
            failed_arrival_at=arrived[row["event"]][row["number"] - 2],
            wait_s=_WAITS_S[row["number"] - 2],
        )
        for row in logged
        if row["number"] > 1
    ]
