"""A retry never comes early, grows by no more than its jitter, and heeds the receiver."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.retry import (
    DEFAULT_WAITS_S,
    MAX_ATTEMPTS,
    MAX_WAIT_S,
    RETRY_AFTER_CAP_S,
    RetryPolicy,
    due_again,
    read_policy,
)

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
ROUNDING = timedelta(microseconds=1)

waits = st.floats(0, MAX_WAIT_S)
policies = st.builds(
    RetryPolicy, waits_s=st.lists(waits, min_size=1, max_size=MAX_ATTEMPTS - 1).map(tuple)
)
dice = st.floats(0, 1, exclude_max=True)
jitters = st.floats(0, 1)


def due(wait_s: float, retry_after_s: float | None) -> datetime | None:
    policy = RetryPolicy(waits_s=(wait_s,))
    return due_again(policy, failures=1, now=NOW, dice=0.0, jitter=0.1, retry_after_s=retry_after_s)


@given(policies, st.data(), dice, jitters)
def test_a_retry_is_never_early_and_never_later_than_the_jitter_lets_it_be(
    policy: RetryPolicy, data: st.DataObject, dice: float, jitter: float
) -> None:
    failures = data.draw(st.integers(1, len(policy.waits_s)))
    wait_s = policy.waits_s[failures - 1]

    again = due_again(policy, failures=failures, now=NOW, dice=dice, jitter=jitter)

    assert again is not None
    assert again >= NOW + timedelta(seconds=wait_s) - ROUNDING
    assert again <= NOW + timedelta(seconds=wait_s * (1 + jitter)) + ROUNDING


@given(policies, dice, jitters)
def test_the_schedule_gives_up_behind_its_last_wait(
    policy: RetryPolicy, dice: float, jitter: float
) -> None:
    last = len(policy.waits_s)

    assert policy.wait_s(failures=last, dice=dice, jitter=jitter) is not None
    assert policy.wait_s(failures=last + 1, dice=dice, jitter=jitter) is None


@given(waits, st.floats(allow_nan=True))
def test_a_retry_after_never_makes_a_retry_earlier_nor_later_than_a_day(
    wait_s: float, retry_after_s: float
) -> None:
    again = due(wait_s, retry_after_s)

    assert again is not None
    assert again >= NOW + timedelta(seconds=wait_s) - ROUNDING
    assert again <= NOW + timedelta(seconds=max(wait_s, RETRY_AFTER_CAP_S)) + ROUNDING


@pytest.mark.parametrize(
    ("wait_s", "retry_after_s", "waited_s"),
    [
        pytest.param(10.0, None, 10, id="not-given"),
        pytest.param(10.0, 0.0, 10, id="shorter"),
        pytest.param(10.0, 11.5, 11.5, id="longer"),
        pytest.param(10.0, 86_401.0, 86_400, id="longer-than-a-day"),
        pytest.param(172_800.0, 90_000.0, 172_800, id="the-schedule-may-be-longer"),
    ],
)
def test_a_retry_after_lengthens_up_to_a_day(
    wait_s: float, retry_after_s: float | None, waited_s: float
) -> None:
    assert due(wait_s, retry_after_s) == NOW + timedelta(seconds=waited_s)


def test_a_retry_after_brings_back_nothing_that_is_exhausted() -> None:
    policy = RetryPolicy(waits_s=())

    again = due_again(policy, failures=1, now=NOW, dice=0.0, jitter=0.0, retry_after_s=60.0)

    assert again is None


def test_the_default_makes_ten_attempts_in_75_hours_and_35_minutes() -> None:
    policy = RetryPolicy(waits_s=DEFAULT_WAITS_S)

    assert len(policy.waits_s) == 9
    assert timedelta(seconds=sum(policy.waits_s)) == timedelta(hours=75, minutes=35, seconds=5)


def test_a_list_of_seconds_is_the_waits_themselves() -> None:
    assert read_policy([0, 5, 2.5]) == RetryPolicy(waits_s=(0.0, 5.0, 2.5))


def test_an_empty_list_is_one_attempt_without_retries() -> None:
    assert read_policy([]) == RetryPolicy(waits_s=())


@pytest.mark.parametrize(
    ("stored", "waits_s"),
    [
        pytest.param({"base": 2, "factor": 3, "cap": 20, "attempts": 5}, (2, 6, 18, 20), id="all"),
        pytest.param({"attempts": 4}, (1, 2, 4), id="the-rest-has-defaults"),
        pytest.param({"attempts": 1}, (), id="one-attempt"),
        pytest.param({"attempts": 3.0, "factor": 0.5}, (1, 0.5), id="whole-though-a-float"),
        pytest.param({}, (1, 2, 4, 8, 16, 32, 64, 128, 256), id="nothing-given"),
        pytest.param({"attempts": 3, "factor": 1e308, "base": 1e6}, (300, 300), id="overflow"),
    ],
)
def test_a_growth_is_written_out_as_waits(
    stored: dict[str, float], waits_s: tuple[float, ...]
) -> None:
    assert read_policy(stored).waits_s == waits_s


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        pytest.param("5,300", "give a list of seconds, or", id="text"),
        pytest.param(None, "give a list of seconds, or", id="nothing"),
        pytest.param(5, "give a list of seconds, or", id="number"),
        pytest.param({"bass": 1}, "give a list of seconds, or", id="unknown-name"),
        pytest.param(["5"], "'5' is not a number of seconds", id="text-inside"),
        pytest.param([True], "True is not a number of seconds", id="truth"),
        pytest.param([None], "None is not a number of seconds", id="none-inside"),
        pytest.param([[5]], r"\[5\] is not a number of seconds", id="list-inside"),
        pytest.param({"cap": "1"}, "'1' is not a number of seconds", id="text-in-growth"),
        pytest.param([10**400], "a number is too large", id="too-large-for-a-float"),
        pytest.param([-1], "at most 49 waits of 0 to 2592000 seconds", id="negative"),
        pytest.param([2_592_001], "at most 49 waits of 0 to 2592000 seconds", id="over-30-days"),
        pytest.param([float("inf")], "at most 49 waits of 0 to", id="infinite"),
        pytest.param([float("nan")], "at most 49 waits of 0 to", id="nan"),
        pytest.param([1] * 50, "at most 49 waits of 0 to", id="too-many"),
        pytest.param({"base": -1, "attempts": 2}, "at most 49 waits of 0 to", id="negative-base"),
        pytest.param(
            {"base": 0, "factor": float("inf"), "attempts": 3}, "at most 49", id="growth-to-nan"
        ),
        pytest.param({"attempts": 0}, "attempts must be 1 to 50", id="no-attempt"),
        pytest.param({"attempts": 51}, "attempts must be 1 to 50", id="too-many-attempts"),
        pytest.param({"attempts": 2.5}, "attempts must be 1 to 50", id="half-an-attempt"),
        pytest.param({"attempts": float("nan")}, "attempts must be 1 to 50", id="nan-attempts"),
    ],
)
def test_a_bad_policy_is_refused_and_says_why(stored: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_policy(stored)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["base", "factor", "cap", "attempts", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(json_values)
def test_whatever_is_stored_is_a_policy_within_the_bounds_or_refused(stored: object) -> None:
    try:
        policy = read_policy(stored)
    except ValueError:
        return

    assert len(policy.waits_s) < MAX_ATTEMPTS
    assert all(0 <= wait_s <= MAX_WAIT_S for wait_s in policy.waits_s)
