"""Events in a second, on a clock that the tests turn."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_seconds_worth_may_come_at_once_and_then_one_for_each_fraction() -> None:
    clock = Clock()
    pace = Pace(4, clock)

    first = pace.take("a", 10)
    at_once = pace.take("a", 1)
    clock.now_s += 0.25
    later = pace.take("a", 10)
    clock.now_s += 60
    rested = pace.take("a", 10)

    assert (first, at_once, later, rested) == (4, 0, 1, 4)


def test_what_is_left_is_told_without_being_taken_and_each_app_has_its_own() -> None:
    pace = Pace(5, Clock())

    pace.take("a", 3)

    assert [pace.left(app) for app in ("a", "a", "b")] == [2, 2, 5]


@given(
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 80)), max_size=60),
)
def test_no_stretch_of_time_holds_more_than_a_second_s_worth_and_what_it_fills(
    per_s: int, steps: list[tuple[float, int]]
) -> None:
    clock = Clock()
    pace = Pace(per_s, clock)
    taken: list[tuple[float, int]] = []
    for wait_s, wanted in steps:
        clock.now_s += wait_s
        taken.append((clock.now_s, pace.take("a", wanted)))

    for first, (start_s, _) in enumerate(taken):
        total = 0
        for at_s, number in taken[first:]:
            total += number
            assert total <= per_s * (1 + at_s - start_s) + 1e-6


def test_apps_that_rest_are_forgotten_and_those_that_publish_are_not() -> None:
    clock = Clock()
    pace = Pace(2, clock)
    for number in range(10_000):
        pace.take(f"old-{number}", 1)
    clock.now_s += 2
    pace.take("busy", 2)
    pace.take("busy", 2)
    pace.take("other", 1)

    assert len(pace._buckets) == 2
    assert pace.left("busy") == 0
