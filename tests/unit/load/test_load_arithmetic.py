import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.load.arithmetic import (
    most_in_a_second,
    per_second,
    percentile,
    schedule_ns,
    use_of_rate,
)

S = 1_000_000_000
TIMES = st.lists(st.integers(min_value=0, max_value=5 * S), min_size=1, max_size=60)


@pytest.mark.parametrize(("part", "value"), [(1, 1), (50, 50), (99, 99), (99.5, 100), (100, 100)])
def test_a_percentile_is_one_of_the_values(part: float, value: int) -> None:
    values = [*range(100, 0, -1)]

    found = percentile(values, part)

    assert found == value


def test_a_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 1) == percentile([7.0], 99) == 7.0


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1), st.floats(1, 100))
def test_so_many_per_cent_do_not_exceed_their_percentile(values: list[float], part: float) -> None:
    found = percentile(values, part)

    assert sum(value <= found for value in values) >= part / 100 * len(values) - 1e-9
    assert sum(value < found for value in values) < part / 100 * len(values) + 1e-9


def test_a_schedule_counts_every_time_from_its_start() -> None:
    times = [*schedule_ns(start_ns=5, rate=3, number=4)]

    assert times == [5, 5 + 333_333_333, 5 + 666_666_667, 5 + S]


def test_a_long_schedule_does_not_drift() -> None:
    *_, last_ns = schedule_ns(start_ns=0, rate=700, number=700 * 3_600 + 1)

    assert last_ns == 3_600 * S


def test_the_end_of_a_second_is_not_in_it() -> None:
    assert most_in_a_second([0, S]) == 1
    assert most_in_a_second([0, S - 1]) == 2


def test_the_fullest_second_may_start_anywhere() -> None:
    times = [0, 700_000_000, 900_000_000, 1_100_000_000, 1_650_000_000, 3 * S]

    assert most_in_a_second(times) == 4


def test_nothing_came_in_no_second() -> None:
    assert most_in_a_second([]) == 0


@given(TIMES)
def test_the_fullest_second_is_the_fullest_that_starts_with_a_time(times: list[int]) -> None:
    by_hand = max(sum(start <= at < start + S for at in times) for start in times)

    assert most_in_a_second(times) == by_hand


def test_an_even_rate_is_used_whole() -> None:
    times = [place * S // 200 for place in range(1_000)]

    assert use_of_rate(times, 200) == pytest.approx(1.0, abs=1e-6)


def test_bursts_are_counted_like_an_even_rate() -> None:
    times = [burst * 1_020_000_000 for burst in range(8) for _ in range(200)]

    assert use_of_rate(times, 200) == pytest.approx(1 / 1.02)


def test_the_first_burst_is_no_advantage() -> None:
    slow = [place * S // 100 for place in range(1_000)]

    assert use_of_rate([0] * 100 + slow, 200) < 0.6


def test_a_rate_is_not_used_while_too_little_came() -> None:
    assert use_of_rate([0, 1, 2], 200) == 0.0


def test_a_rate_counts_the_steps_between_the_first_and_the_last() -> None:
    assert per_second([S, 3 * S, 2 * S]) == 1.0


@given(st.lists(st.integers(1, S), min_size=1, max_size=40))
def test_a_rate_is_one_over_the_mean_gap(gaps: list[int]) -> None:
    times = [sum(gaps[:place]) for place in range(len(gaps) + 1)]

    assert per_second(times) == pytest.approx(S / statistics.mean(gaps))
