"""When an endpoint is degraded, failing, warned of and disabled: by hand and by chance."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

import schema
from schema.health import (
    FAILING_AFTER,
    HEALTH_MOVES,
    LEAST_FAILURES,
    LEAST_SPREAD,
    MOST_SILENCE,
    Health,
    HealthState,
    Look,
    Patience,
    Recent,
    Streak,
    disable_at,
    follow,
    judge,
    look,
)

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
MIGRATION = Path(schema.__path__[0]) / "migrations" / "0009_health.sql"
DAY = timedelta(days=1)
PATIENCE = Patience()
ACTIVE = [HealthState.HEALTHY, HealthState.DEGRADED, HealthState.FAILING]
ages = st.integers(0, 20 * 24 * 60).map(lambda minutes: timedelta(minutes=minutes))


@st.composite
def streaks(draw: st.DrawFn) -> Streak:
    first, last = sorted((draw(ages), draw(ages)), reverse=True)
    return Streak(since=NOW - first, last_at=NOW - last, failures=draw(st.integers(1, 100)))


healths = st.builds(
    Health,
    state=st.sampled_from(ACTIVE),
    streak=st.none() | streaks(),
    warned_at=st.none() | ages.map(lambda age: NOW - age),
)
patiences = st.builds(Patience.of_days, st.integers(0, 10), st.integers(0, 12))


@st.composite
def recents(draw: st.DrawFn) -> Recent:
    """What some minutes came to, as the statement sums them up."""
    pairs = st.tuples(st.integers(0, 3), st.integers(0, 3))
    minutes = draw(st.dictionaries(st.integers(0, 14), pairs))
    return summed(minutes)


def summed(minutes: dict[int, tuple[int, int]]) -> Recent:
    """Sum up delivered and failed of minutes before now."""
    at = {NOW - timedelta(minutes=ago): counts for ago, counts in minutes.items()}
    good_at = max((one for one, (delivered, _) in at.items() if delivered), default=None)
    behind = {
        one: failed
        for one, (_, failed) in at.items()
        if failed and (good_at is None or one > good_at)
    }
    return Recent(
        delivered=sum(delivered for delivered, _ in at.values()),
        failed=sum(failed for _, failed in at.values()),
        good_at=good_at,
        failed_at=min(behind, default=None),
        last_at=max(behind, default=None),
        failures=sum(behind.values()),
        fresh=sum(behind.values()),
    )


def failing(since: timedelta, last: timedelta = timedelta(), failures: int = 50) -> Health:
    streak = Streak(since=NOW - since, last_at=NOW - last, failures=failures)
    return Health(state=HealthState.FAILING, streak=streak)


def found(health: Health, recent: Recent | None = None, patience: Patience = PATIENCE) -> Look:
    return look(health, recent or Recent(), patience, NOW)


def test_the_states_that_the_database_takes_are_those_that_have_moves() -> None:
    checked = re.search(r"CHECK \(state IN \(([^)]*)\)", MIGRATION.read_text())

    assert checked is not None
    assert set(re.findall(r"'(\w+)'", checked[1])) == set(HealthState) == set(HEALTH_MOVES)


def test_a_few_failures_among_many_attempts_leave_an_endpoint_healthy() -> None:
    assert judge(HealthState.HEALTHY, None, Recent(delivered=100, failed=9)) is HealthState.HEALTHY
    assert judge(HealthState.HEALTHY, None, Recent(delivered=0, failed=3)) is HealthState.HEALTHY


def test_one_that_is_degraded_stays_so_until_hardly_any_fail() -> None:
    fewer = Recent(delivered=93, failed=7)

    assert judge(HealthState.HEALTHY, None, Recent(delivered=90, failed=10)) is HealthState.DEGRADED
    assert judge(HealthState.HEALTHY, None, fewer) is HealthState.HEALTHY
    assert judge(HealthState.DEGRADED, None, fewer) is HealthState.DEGRADED


def test_a_burst_of_failures_is_not_failing_yet() -> None:
    burst = Recent(failed=500, failed_at=NOW, last_at=NOW, failures=500, fresh=500)

    assert found(Health(), burst).health.state is HealthState.DEGRADED


def test_nothing_but_failures_for_minutes_is_failing_until_one_arrives() -> None:
    down = summed({14: (0, 2), 7: (0, 2), 1: (0, 2)})
    known = found(Health(), down).health

    quiet = found(known).health
    back = found(known, summed({0: (1, 0)}))

    assert known.state is quiet.state is HealthState.FAILING
    assert (back.health.state, back.health.streak) == (HealthState.HEALTHY, None)


def test_an_endpoint_is_warned_of_a_day_before_and_disabled_after_five() -> None:
    assert found(failing(4 * DAY - timedelta(minutes=1))) == Look(
        health=failing(4 * DAY - timedelta(minutes=1))
    )

    warned = found(failing(4 * DAY))

    assert (warned.warns, warned.disables, warned.health.warned_at) == (True, False, NOW)
    assert disable_at(warned.health.streak, NOW, PATIENCE) == NOW + DAY


def test_a_day_passes_after_the_warning_however_late_it_came() -> None:
    late = found(failing(9 * DAY))
    streak = failing(9 * DAY).streak
    soon = Health(state=HealthState.FAILING, streak=streak, warned_at=NOW - DAY / 2)
    due = Health(state=HealthState.FAILING, streak=streak, warned_at=NOW - DAY)

    assert (late.warns, late.disables) == (True, False)
    assert not found(soon).disables
    assert found(due).disables


def test_without_a_warning_it_is_disabled_at_once() -> None:
    silent = Patience.of_days(5, 0)

    assert found(failing(5 * DAY), patience=silent).disables
    assert not found(failing(5 * DAY - timedelta(minutes=1)), patience=silent).disables


def test_one_that_nobody_tries_any_more_is_left_alone() -> None:
    silent = Patience.of_days(5, 0)

    left = found(failing(9 * DAY, MOST_SILENCE + timedelta(minutes=1)), patience=silent)

    assert (left.disables, left.warns, left.health.state) == (False, False, HealthState.FAILING)


@given(healths, recents(), patiences)
def test_nothing_is_disabled_before_its_time_or_without_a_warning(
    known: Health, recent: Recent, patience: Patience
) -> None:
    result = found(known, recent, patience)

    if result.disables:
        streak, after = result.health.streak, patience.disable_after
        assert streak is not None
        assert after is not None
        assert NOW - streak.since >= after
        assert streak.last_at - streak.since >= LEAST_SPREAD
        assert streak.failures >= LEAST_FAILURES
        assert NOW - streak.last_at <= MOST_SILENCE
        if patience.warn_before:
            assert known.warned_at is not None
            assert NOW - known.warned_at >= patience.warn_before


@given(healths, recents(), patiences)
def test_a_success_starts_everything_anew(
    known: Health, recent: Recent, patience: Patience
) -> None:
    assume(recent.good_at is not None)
    assume(known.streak is None or recent.good_at >= known.streak.since)

    result = found(known, recent, patience)

    assert not result.disables
    assert not result.warns
    assert result.health.warned_at is None
    assert result.health.streak is None or result.health.streak.since > recent.good_at


@given(healths, recents(), patiences)
def test_a_state_says_why_it_changed_and_goes_where_it_may(
    known: Health, recent: Recent, patience: Patience
) -> None:
    result = found(known, recent, patience)

    now_in = result.health.state
    assert (result.why is None) is (now_in is known.state)
    assert now_in is known.state or now_in in HEALTH_MOVES[known.state]
    assert now_in in ACTIVE


@given(healths, recents())
def test_an_endpoint_is_failing_if_nothing_but_failures_lasts(
    known: Health, recent: Recent
) -> None:
    streak = follow(known.streak, recent)

    state = judge(known.state, streak, recent)

    lasts = (
        streak is not None
        and streak.failures >= LEAST_FAILURES
        and streak.last_at - streak.since >= FAILING_AFTER
    )
    assert (state is HealthState.FAILING) is lasts


@given(healths, recents())
def test_zero_days_disable_nothing_and_warn_of_nothing(known: Health, recent: Recent) -> None:
    result = found(known, recent, Patience.of_days(0, 1))

    assert not result.disables
    assert not result.warns
    assert disable_at(result.health.streak, None, Patience.of_days(0, 1)) is None
