"""An endpoint that fails is only probed, less and less often, and comes back step by step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.health import Health, HealthLimits

AFTER, GAP_S, MOST_S, JITTER, CAP = 5, 1.0, 20.0, 0.5, 16
LIMITS = HealthLimits(
    most_in_flight=CAP, failing_after=AFTER, gap_s=GAP_S, gap_most_s=MOST_S, jitter=JITTER
)
dices = st.floats(0, 1, exclude_max=True)
# What becomes of attempts, in whatever order: ended well, badly, or with an answer of neither kind.
ends = st.lists(st.tuples(st.sampled_from(["ok", "bad", "other", "slow"]), dices), max_size=60)


def fail(health: Health, times: int, *, probe: bool = False, now: float = 0.0) -> None:
    for _ in range(times):
        health.failed(probe=probe, now=now, dice=0.0)


@pytest.fixture
def health() -> Health:
    return Health(LIMITS)


@pytest.fixture
def failing(health: Health) -> Health:
    fail(health, AFTER)
    return health


def test_a_run_of_failures_makes_it_failing_and_one_less_does_not(health: Health) -> None:
    fail(health, AFTER - 1)
    assert (health.failing, health.cap, health.probe_at) == (False, CAP, 0.0)

    fail(health, 1, now=100.0)

    assert (health.failing, health.cap, health.probe_at) == (True, 1, 100.0 + GAP_S)


@pytest.mark.parametrize("end", [Health.succeeded, Health.answered])
def test_any_answer_that_does_not_speak_of_the_endpoint_breaks_the_run(
    health: Health, end: object
) -> None:
    fail(health, AFTER - 1)

    end(health)  # type: ignore[operator]
    fail(health, AFTER - 1)

    assert not health.failing


def test_what_was_under_way_when_it_began_to_fail_does_not_lengthen_the_gap(
    failing: Health,
) -> None:
    fail(failing, 15, now=0.5)

    assert failing.probe_at == GAP_S


def test_the_gap_doubles_with_each_probe_that_fails_up_to_the_longest(failing: Health) -> None:
    gaps = []
    for now in range(0, 700, 100):
        fail(failing, 1, probe=True, now=now)
        gaps.append(failing.probe_at - now)

    assert gaps == [2, 4, 8, 16, MOST_S, MOST_S, MOST_S]


@given(st.lists(dices, min_size=1, max_size=12))
def test_chance_only_lengthens_a_gap(dice: list[float]) -> None:
    health, now, least_s = Health(LIMITS), 0.0, GAP_S
    fail(health, AFTER - 1)

    for n, one in enumerate(dice):
        health.failed(probe=n > 0, now=now, dice=one)
        assert least_s - 1e-9 <= health.probe_at - now <= least_s * (1 + JITTER) + 1e-9
        now, least_s = health.probe_at, min(least_s * 2, MOST_S)


def test_one_success_ends_it_and_the_cap_grows_from_there_by_one(failing: Health) -> None:
    caps = []
    for _ in range(CAP + 2):
        failing.succeeded()
        caps.append(failing.cap)

    assert (failing.failing, failing.probe_at) == (False, 0.0)
    assert caps == [*range(2, CAP + 1), CAP, CAP, CAP]


def test_a_relapse_begins_with_the_shortest_gap(failing: Health) -> None:
    fail(failing, 4, probe=True)
    failing.succeeded()

    fail(failing, AFTER, now=50.0)

    assert failing.probe_at == 50.0 + GAP_S


def test_what_is_mended_by_hand_is_tried_at_once_one_at_a_time(failing: Health) -> None:
    failing.mended()

    assert (failing.failing, failing.probe_at, failing.cap) == (False, 0.0, 1)


def test_the_cap_halves_when_an_endpoint_struggles(health: Health) -> None:
    caps = []
    for _ in range(6):
        health.struggled()
        caps.append(health.cap)

    assert caps == [8, 4, 2, 1, 1, 1]


@given(ends)
def test_it_is_never_stuck_and_needs_no_more_successes_than_the_cap(
    ends: list[tuple[str, float]],
) -> None:
    health, now = Health(LIMITS), 0.0
    for end, dice in ends:
        now = max(now, health.probe_at)
        if end == "ok":
            health.succeeded()
        elif end == "other":
            health.answered()
        elif end == "slow":
            health.struggled()
        if end in ("bad", "slow"):
            health.failed(probe=health.failing, now=now, dice=dice)

        assert 1 <= health.cap <= CAP
        assert health.probe_at <= now + MOST_S * (1 + JITTER)
        assert health.failing is (health.probe_at > 0.0)
        assert not health.failing or health.cap == 1

    for _ in range(CAP):
        health.succeeded()
    assert (health.failing, health.cap, health.run) == (False, CAP, 0)
