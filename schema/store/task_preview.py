"""What a task on dead letters would do: how many letters, where, what stands in the way, how long.

It looks at `MOST` letters and for `BUDGET_S`, oldest first; what it says is then of those, and is
not exact. Nothing is written.
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from schema.endpoint import EndpointState
from schema.store import dead_letter_search as search
from schema.store import statements
from schema.store.dead_letter import Filter
from schema.store.dead_letter_search import Lot
from schema.store.link import Link
from schema.task import SENDING, Task, TaskKind

MOST: Final = 100_000
BUDGET_S: Final = 4.0
SHOWN: Final = 100  # endpoints, the largest first; the others are added up
MEASURED: Final = timedelta(hours=24)  # of which an endpoint's pace is known
_STRETCH: Final = 20_000
_SQL = statements.load("task_preview")

DELETED: Final = "endpoint_deleted"
DISABLED: Final = "endpoint_disabled"
PAUSED: Final = "endpoint_paused"
ON_WAY: Final = "redelivering"
NO_PAYLOAD: Final = "missing_payload"
NOT_PARKED: Final = "not_parked"
_BLOCKING: Final = {EndpointState.DISABLED: DISABLED, EndpointState.PAUSED: PAUSED}


class Target(NamedTuple):
    """An endpoint that is there; rates and pace are deliveries a second, None where not known."""

    state: EndpointState
    rate: float | None
    app_rate: float | None
    pace: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What would be done at an endpoint; `blocked` is how many letters are, by what."""

    app_id: str
    endpoint_id: str
    letters: int
    oldest_at: datetime
    size_bytes: int
    blocked: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a task would do; `lines` are the largest, `others` the letters at the other endpoints.

    Attributes:
        exact: Whether all letters were looked at.
        duration_s: None: nobody knows.
    """

    letters: int = 0
    exact: bool = True
    endpoints: int = 0
    lines: Sequence[Line] = ()
    others: int = 0
    oldest_at: datetime | None = None
    size_bytes: int = 0
    blocked: Mapping[str, int] = field(default_factory=dict)
    duration_s: float | None = None


async def missing(
    link: Link, environment_id: str, app_id: str | None, letter_ids: Sequence[str]
) -> str | None:
    """Give one of some letters that an environment, or an app of it, does not have."""
    values = (environment_id, list(letter_ids), app_id)
    found: str | None = await link.fetchval(_SQL["missing_ids"], *values)
    return found


async def preview(link: Link, task: Task, now: datetime) -> Preview:
    """Say what a task on letters would do.

    Raises:
        TimeoutError: A look at the letters takes too long.
    """
    lots, exact = await _lots(link, task)
    targets = await _targets(link, task, lots, now)
    lines = [_line(lot, task, targets) for lot in lots]
    blocked: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        for why, number in line.blocked.items():
            blocked[why] += number
    return Preview(
        letters=sum(lot.letters for lot in lots),
        exact=exact,
        endpoints=len(lots),
        lines=lines[:SHOWN],
        others=sum(lot.letters for lot in lots[SHOWN:]),
        oldest_at=min((lot.oldest_at for lot in lots), default=None),
        size_bytes=sum(lot.size_bytes for lot in lots),
        blocked=dict(sorted(blocked.items())),
        duration_s=duration(task, lines, targets),
    )


def duration(
    task: Task, lines: Sequence[Line], targets: Mapping[tuple[str, str], Target]
) -> float | None:
    """Say how many seconds a task would take (pure); None if nobody knows.

    Endpoints are sent to side by side, so the slowest decides: each takes what its own rate or its
    app's allows, else what it took of late.
    """
    if task.kind not in SENDING:
        return None
    by_target: defaultdict[tuple[str, str], int] = defaultdict(int)
    by_app: defaultdict[str, int] = defaultdict(int)
    for line in lines:
        able = line.letters - sum(n for why, n in line.blocked.items() if why != PAUSED)
        if able:
            by_target[line.app_id, task.plan.to_endpoint_id or line.endpoint_id] += able
            by_app[line.app_id] += able
    total = sum(by_app.values())
    if not total:
        return 0.0
    least = [] if task.plan.rate_per_s is None else [total / task.plan.rate_per_s]
    for key, number in by_target.items():
        pace = _pace(targets[key])
        if pace is None and task.plan.rate_per_s is None:
            return None
        if pace is not None:
            least.append(number / pace)
    app_rates = {app: target.app_rate for (app, _), target in targets.items()}
    least += [number / rate for app, number in by_app.items() if (rate := app_rates.get(app))]
    return max(least)


async def _lots(link: Link, task: Task) -> tuple[list[Lot], bool]:
    """Add up by endpoint, the largest first; tell whether all was looked at."""
    plan = task.plan
    if plan.letter_ids is not None:
        ids = list(plan.letter_ids)
        rows = await link.fetch(_SQL["lots_of_ids"], task.environment_id, ids, task.app_id)
        return _largest_first([search.lot(row) for row in rows]), True
    wanted = plan.letters or Filter(environment_id=task.environment_id)
    stretch = search.SCAN if wanted.is_deep else _STRETCH
    found: dict[tuple[str, str], Lot] = {}
    behind, number, until_s = "", 0, time.monotonic() + BUDGET_S
    while number < MOST and time.monotonic() < until_s:
        most = min(stretch, MOST - number)
        tally = await search.tally(link, wanted, behind=behind, most=most)
        for lot in tally.lots:
            key = lot.app_id, lot.endpoint_id
            found[key] = lot if key not in found else _sum(found[key], lot)
            number += lot.letters
        if tally.stopped_at is None:
            return _largest_first(found.values()), True
        behind = tally.stopped_at
    return _largest_first(found.values()), False


async def _targets(
    link: Link, task: Task, lots: Sequence[Lot], now: datetime
) -> dict[tuple[str, str], Target]:
    """Look up where would be sent to; paces of those that are shown, as far as they matter."""
    if task.kind not in SENDING:
        return {}
    to = task.plan.to_endpoint_id
    keys = list(dict.fromkeys((lot.app_id, to or lot.endpoint_id) for lot in lots))
    rows = await link.fetch(_SQL["targets"], *_columns(keys))
    paces = await link.fetch(_SQL["paces"], *_columns(keys[:SHOWN]), now - MEASURED)
    measured = {(row["app_id"], row["endpoint_id"]): row["pace"] for row in paces}
    return {
        (key := (row["app_id"], row["endpoint_id"])): Target(
            EndpointState(row["state"]), row["rate"], row["app_rate"], measured.get(key)
        )
        for row in rows
    }


def _line(lot: Lot, task: Task, targets: Mapping[tuple[str, str], Target]) -> Line:
    return Line(
        app_id=lot.app_id,
        endpoint_id=lot.endpoint_id,
        letters=lot.letters,
        oldest_at=lot.oldest_at,
        size_bytes=lot.size_bytes,
        blocked={why: n for why, n in _blocked(lot, task, targets).items() if n},
    )


def _blocked(lot: Lot, task: Task, targets: Mapping[tuple[str, str], Target]) -> dict[str, int]:
    """Say what stands in the way of a lot: of each letter, one thing."""
    if task.kind is TaskKind.DISCARD:
        return {ON_WAY: lot.on_way, NOT_PARKED: lot.elsewhere}
    if task.kind is TaskKind.PURGE:
        return {ON_WAY: lot.on_way}
    target = targets.get((lot.app_id, task.plan.to_endpoint_id or lot.endpoint_id))
    if target is None:
        return {DELETED: lot.letters}
    why = _BLOCKING.get(target.state)
    if why == DISABLED:
        return {DISABLED: lot.letters}
    able = lot.letters - lot.on_way - lot.expunged
    return {ON_WAY: lot.on_way, NO_PAYLOAD: lot.expunged} | ({why: able} if why else {})


def _pace(target: Target) -> float | None:
    known = [rate for rate in (target.rate, target.app_rate) if rate]
    return min(known) if known else target.pace


def _sum(one: Lot, other: Lot) -> Lot:
    return Lot(
        app_id=one.app_id,
        endpoint_id=one.endpoint_id,
        letters=one.letters + other.letters,
        on_way=one.on_way + other.on_way,
        elsewhere=one.elsewhere + other.elsewhere,
        expunged=one.expunged + other.expunged,
        size_bytes=one.size_bytes + other.size_bytes,
        oldest_at=min(one.oldest_at, other.oldest_at),
    )


def _largest_first(lots: Iterable[Lot]) -> list[Lot]:
    return sorted(lots, key=lambda lot: (-lot.letters, lot.app_id, lot.endpoint_id))


def _columns(keys: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [app for app, _ in keys], [endpoint for _, endpoint in keys]
