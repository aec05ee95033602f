"""Health of endpoints: how their attempts end, and when one is disabled by itself. Pure.

What attempts came to is known by the minute: a minute in which one arrived counts as good, whatever
else happened in it. Durations are timedeltas; every time is handed in.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from schema.endpoint import EndpointState

WINDOW: Final = timedelta(minutes=15)  # over which a share of failures is taken
LEAST_FAILURES: Final = 4  # below which no endpoint is judged
DEGRADED_PERCENT: Final = 10  # of the window's attempts, from which on one is degraded
HEALTHY_PERCENT: Final = 5  # below which it is healthy again
FAILING_AFTER: Final = timedelta(minutes=5)  # that nothing but failures must last
LEAST_SPREAD: Final = timedelta(hours=12)  # between the failures that disable one
MOST_SILENCE: Final = timedelta(days=2)  # one that is not tried any more is left alone


class HealthState(StrEnum):
    """How an endpoint fares. Values are stored; the last two are its own state."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    FAILING = "failing"
    PAUSED = "paused"
    DISABLED = "disabled"


HEALTH_MOVES: Final[dict[HealthState, frozenset[HealthState]]] = {
    HealthState.HEALTHY: frozenset(HealthState) - {HealthState.HEALTHY},
    HealthState.DEGRADED: frozenset(HealthState) - {HealthState.DEGRADED},
    HealthState.FAILING: frozenset(HealthState) - {HealthState.FAILING},
    HealthState.PAUSED: frozenset({HealthState.HEALTHY, HealthState.DISABLED}),
    HealthState.DISABLED: frozenset({HealthState.HEALTHY, HealthState.PAUSED}),
}
OF_ENDPOINT: Final = {
    EndpointState.PAUSED: HealthState.PAUSED,
    EndpointState.DISABLED: HealthState.DISABLED,
}


class By(StrEnum):
    """Who changed an endpoint's health. Values are stored."""

    KEY = "key"
    RECEIVER = "receiver"
    HOOKLINE = "hookline"


class Why(StrEnum):
    """Why we changed it; a key's reason is `by_request`, a receiver's the reason of the letter."""

    ONLY_FAILURES = "only_failures"
    SOME_FAILURES = "some_failures"
    DELIVERED = "delivered"
    FEW_FAILURES = "few_failures"
    FAILING = "failing"  # and so it was disabled


@dataclass(frozen=True, slots=True, kw_only=True)
class Streak:
    """Failures with no success in between or after; times are those of their minutes."""

    since: datetime
    last_at: datetime
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """What an endpoint's attempts of the last `WINDOW` came to.

    Attributes:
        delivered: How many arrived.
        failed: How many did not.
        good_at: The last good minute.
        failed_at: The first minute of failures behind that.
        last_at: The last one.
        failures: Behind the good minute.
        fresh: Of these, those behind the last one that was known.
    """

    delivered: int = 0
    failed: int = 0
    good_at: datetime | None = None
    failed_at: datetime | None = None
    last_at: datetime | None = None
    failures: int = 0
    fresh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What is known of an endpoint that is active.

    Attributes:
        state: Healthy, degraded or failing.
        streak: None: the last that is known arrived.
        warned_at: When it was told that the endpoint will be disabled.
    """

    state: HealthState = HealthState.HEALTHY
    streak: Streak | None = None
    warned_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long nothing but failures may last. `disable_after` None: for ever."""

    disable_after: timedelta | None = timedelta(days=5)
    warn_before: timedelta = timedelta(days=1)

    @classmethod
    def of_days(cls, disable_after: float, warn_before: float) -> "Patience":
        """Read settings; 0 days disable nothing."""
        after = timedelta(days=disable_after) if disable_after else None
        before = timedelta(days=min(warn_before, disable_after))
        return cls(disable_after=after, warn_before=before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at an endpoint came to.

    Attributes:
        health: As it is from now on.
        why: Why the state changed; None: it did not.
        warns: Whether it is told now that the endpoint will be disabled.
        disables: Whether the endpoint is disabled now.
    """

    health: Health
    why: Why | None = None
    warns: bool = False
    disables: bool = False


def look(known: Health, recent: Recent, patience: Patience, now: datetime) -> Look:
    """Say how an active endpoint fares by what its attempts came to."""
    streak = follow(known.streak, recent)
    state = judge(known.state, streak, recent)
    same_run = (
        streak is not None and known.streak is not None and streak.since == known.streak.since
    )
    warned_at = known.warned_at if same_run else None
    due_at = disable_at(streak, warned_at, patience) if _counts(streak, now) else None
    failing = state is HealthState.FAILING
    disables = failing and due_at is not None and now >= due_at and _was_warned(warned_at, patience)
    warns = failing and not disables and warned_at is None and _warns(due_at, patience, now)
    return Look(
        health=Health(state=state, streak=streak, warned_at=now if warns else warned_at),
        why=None if state is known.state else _why(known.state, state),
        warns=warns,
        disables=disables,
    )


def follow(known: Streak | None, recent: Recent) -> Streak | None:
    """Go on with a streak, begin one, or end it by a success."""
    ended = known is None or (recent.good_at is not None and recent.good_at >= known.since)
    if recent.failed_at is None or recent.last_at is None:  # no failure behind a success, if any
        return None if ended else known
    if known is None or ended:
        return Streak(since=recent.failed_at, last_at=recent.last_at, failures=recent.failures)
    return Streak(
        since=known.since,
        last_at=max(known.last_at, recent.last_at),
        failures=known.failures + recent.fresh,
    )


def judge(state: HealthState, streak: Streak | None, recent: Recent) -> HealthState:
    """Say whether an active endpoint is healthy, degraded or failing."""
    if streak is not None and _is_failing(streak):
        return HealthState.FAILING
    least = DEGRADED_PERCENT if state is HealthState.HEALTHY else HEALTHY_PERCENT
    tried = recent.delivered + recent.failed
    if recent.failed >= LEAST_FAILURES and 100 * recent.failed >= least * tried:
        return HealthState.DEGRADED
    return HealthState.HEALTHY


def disable_at(
    streak: Streak | None, warned_at: datetime | None, patience: Patience
) -> datetime | None:
    """Say when an endpoint that goes on failing is disabled; None: never.

    However late the warning came, so long is waited after it.
    """
    if streak is None or patience.disable_after is None or not _is_failing(streak):
        return None
    due_at = streak.since + max(patience.disable_after, LEAST_SPREAD)
    return due_at if warned_at is None else max(due_at, warned_at + patience.warn_before)


def _is_failing(streak: Streak) -> bool:
    return streak.failures >= LEAST_FAILURES and streak.last_at - streak.since >= FAILING_AFTER


def _counts(streak: Streak | None, now: datetime) -> bool:
    """Tell whether failures lie far enough apart, and go on, so that they say something."""
    return (
        streak is not None
        and streak.last_at - streak.since >= LEAST_SPREAD
        and now - streak.last_at <= MOST_SILENCE
    )


def _was_warned(warned_at: datetime | None, patience: Patience) -> bool:
    return warned_at is not None or not patience.warn_before


def _warns(due_at: datetime | None, patience: Patience, now: datetime) -> bool:
    return (
        due_at is not None and bool(patience.warn_before) and now >= due_at - patience.warn_before
    )


def _why(was: HealthState, state: HealthState) -> Why:
    if state is HealthState.FAILING:
        return Why.ONLY_FAILURES
    if was is HealthState.FAILING:
        return Why.DELIVERED
    return Why.SOME_FAILURES if state is HealthState.DEGRADED else Why.FEW_FAILURES
