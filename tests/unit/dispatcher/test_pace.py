"""A pace is never exceeded, in whatever window of a second, and is used nearly to the full."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.pace import NOT_YET, WINDOW_S, Pace, Send, repaced

rates = st.integers(1, 200)
TICK_S = 1e-6  # a clock's: what is asked again at a slot is asked behind it


def send_at(pace: Pace, now: float, left_at: float | None = None) -> Send:
    send = Send(now)
    pace.take(send)
    send.left(now if left_at is None else left_at)
    return send


def sends_under_backlog(pace: Pace, start: float, end: float) -> list[float]:
    """Send as soon as the pace lets us, up to a time."""
    times, now = list[float](), start
    while now < end:
        slot = pace.slot()
        if slot > now:
            now = slot
            continue
        send_at(pace, now)
        times.append(now)
    return times


def most_in_a_second(times: list[float]) -> int:
    ordered, start, most = sorted(times), 0, 0
    for end, time in enumerate(ordered):
        while time - ordered[start] >= 1.0:
            start += 1
        most = max(most, end - start + 1)
    return most


@given(rates, st.floats(0, 1e6))
def test_no_second_holds_more_than_the_rate_and_backlog_uses_98_percent(
    rate: int, start: float
) -> None:
    pace = Pace(rate, not_before=start)

    times = sends_under_backlog(pace, start, start + 10.5)

    # The first burst is free: what is kept up is what came behind it, in the time that it took.
    assert most_in_a_second(times) <= rate
    assert len(times) - rate >= 0.98 * rate * (times[-1] - times[0])
    assert times[-1] - times[0] > 9


@given(rates, st.lists(st.floats(0, 0.7), min_size=1, max_size=300))
def test_no_second_holds_more_than_the_rate_however_the_work_comes(
    rate: int, gaps: list[float]
) -> None:
    pace, now, times = Pace(rate, not_before=0.0), 0.0, list[float]()
    for gap in gaps:
        now = max(now + gap, pace.slot())
        send_at(pace, now)
        times.append(now)

    assert most_in_a_second(times) <= rate


@given(
    st.lists(st.tuples(st.integers(1, 50), st.floats(0.01, 3)), min_size=2, max_size=8),
)
def test_a_changed_rate_holds_from_the_change_on(changes: list[tuple[int, float]]) -> None:
    pace, now = Pace(changes[0][0], not_before=0.0), 0.0
    sent: list[list[float]] = []
    for rate, lasts in changes:
        if pace.rate != rate:
            pace.change(rate)
        sent.append(sends_under_backlog(pace, now, now + lasts))
        now += lasts

    for (before, _), (after, _), first, second in zip(
        changes, changes[1:], sent, sent[1:], strict=False
    ):
        assert most_in_a_second(second) <= after
        assert most_in_a_second([*first, *second]) <= max(before, after)


@given(rates, rates)
def test_a_change_forgets_nothing_that_was_sent(before: int, after: int) -> None:
    pace = Pace(before, not_before=0.0)
    sends_under_backlog(pace, 0.0, 0.5)

    pace.change(after)

    assert pace.slot() == pytest.approx(WINDOW_S)


@given(
    st.integers(1, 10),
    st.lists(st.tuples(st.floats(0, 0.3), st.floats(0, 5)), min_size=1, max_size=100),
)
def test_what_counts_is_when_requests_leave_and_not_when_they_are_picked(
    rate: int, requests: list[tuple[float, float]]
) -> None:
    pace, now = Pace(rate, not_before=0.0), 0.0
    opening: list[tuple[float, Send]] = []
    sends: list[Send] = []
    for gap, takes_s in requests:
        now += gap
        while True:
            for leaves_at, send in [one for one in opening if one[0] <= now]:
                send.left(leaves_at)
                opening.remove((leaves_at, send))
            if (slot := pace.slot()) <= now:
                break
            now = min(slot, *(leaves_at for leaves_at, _ in opening), NOT_YET)
        send = Send(now)
        pace.take(send)
        sends.append(send)
        opening.append((now + takes_s, send))
    for leaves_at, send in opening:
        send.left(leaves_at)

    assert most_in_a_second([send.left_at for send in sends]) <= rate


def test_a_request_that_has_not_left_blocks_its_slot_until_it_has() -> None:
    pace = Pace(1, not_before=0.0)
    send = Send(0.0)
    pace.take(send)
    assert pace.slot() == NOT_YET

    send.left(11.0)

    assert pace.slot() == 11.0 + WINDOW_S


def test_an_attempt_that_never_left_counts_from_when_it_was_picked() -> None:
    pace = Pace(1, not_before=0.0)
    send = Send(3.0)
    pace.take(send)

    send.over()

    assert pace.slot() == 3.0 + WINDOW_S


def test_the_end_of_an_attempt_does_not_move_the_time_at_which_it_left() -> None:
    send = Send(3.0)
    send.left(4.0)

    send.over()

    assert send.left_at == 4.0


@given(rates, st.floats(0, 1e6))
def test_a_new_pace_sends_nothing_before_its_time(rate: int, not_before: float) -> None:
    pace = Pace(rate, not_before=not_before)

    assert pace.slot() == pytest.approx(not_before)


def test_a_burst_of_a_seconds_worth_goes_at_once_and_the_next_a_window_later() -> None:
    pace = Pace(5, not_before=0.0)

    times = sends_under_backlog(pace, TICK_S, 2.5)

    assert times[:5] == [TICK_S] * 5
    assert [later - sooner for sooner, later in pairwise(times[::5])] == pytest.approx(
        [WINDOW_S] * 2
    )


def test_a_limit_that_comes_stays_changes_and_goes_is_followed() -> None:
    came = repaced(None, 5, not_before=7.0)
    assert came is not None

    stayed = repaced(came, 5, not_before=99.0)
    changed = repaced(came, 9, not_before=99.0)

    assert came is stayed is changed
    assert came.rate == 9
    assert came.slot() == pytest.approx(7.0)
    assert repaced(came, None, not_before=99.0) is None
    assert repaced(None, None, not_before=99.0) is None


@given(rates, st.lists(st.floats(0, 3), max_size=50))
def test_whatever_went_before_backlog_uses_98_percent_from_then_on(
    rate: int, gaps: list[float]
) -> None:
    pace, now, before = Pace(rate, not_before=0.0), 0.0, list[float]()
    for gap in gaps:
        now = max(now + gap, pace.slot())
        send_at(pace, now)
        before.append(now)

    times = sends_under_backlog(pace, now, now + 10.5)

    assert most_in_a_second([*before, *times]) <= rate
    assert len(times) >= 0.98 * rate * (times[-1] - now)
    assert times[-1] - now > 9


@given(rates, rates, st.floats(0, 3), st.floats(0, 3))
def test_who_goes_on_for_another_does_not_exceed_the_rate_together_with_it(
    rate: int, former_rate: int, worked_s: float, between_s: float
) -> None:
    """A restart, or a shard that moved: what the former owner sent is not known."""
    former_rate = min(former_rate, rate)
    former = sends_under_backlog(Pace(former_rate, not_before=0.0), 0.0, worked_s)
    taken_over_at = worked_s + between_s

    pace = Pace(rate, not_before=taken_over_at + WINDOW_S)
    later = sends_under_backlog(pace, taken_over_at, taken_over_at + 3)

    assert most_in_a_second([*former, *later]) <= rate
    assert later[0] == pytest.approx(taken_over_at + WINDOW_S)
