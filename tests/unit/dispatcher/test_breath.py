"""A flood leaves the process to others, and only where it helps."""

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.breath import LIVE_S, SPILL_MOST_S, Breath

FLOOD, OTHER = 1, 2


def test_a_flood_that_is_alone_goes_on_at_once() -> None:
    breath = Breath(rest=1.0)

    rest = breath.after({FLOOD}, 0.02, now=5.0, settled_per_s=1000.0)

    assert rest == (0.0, 0.0)


def test_a_flood_rests_as_long_as_its_batch_took_while_another_shard_has_few_events() -> None:
    breath = Breath(rest=1.5)
    breath.few({OTHER}, 4.5)

    rest = breath.after({FLOOD}, 0.02, now=5.0, settled_per_s=1000.0)

    assert rest == (0.03, 0.03)


def test_few_events_of_its_own_shard_do_not_hold_a_flood_up() -> None:
    breath = Breath(rest=1.0)
    breath.few({FLOOD}, 4.9)

    rest = breath.after({FLOOD, OTHER}, 0.02, now=5.0, settled_per_s=1000.0)

    assert rest.wait_s == 0.0


def test_an_app_that_stopped_publishing_holds_nobody_up() -> None:
    breath = Breath(rest=1.0)
    breath.few({OTHER}, 4.0)

    rest = breath.after({FLOOD}, 0.02, now=4.0 + LIVE_S, settled_per_s=1000.0)

    assert rest.wait_s == 0.0


def test_what_spilled_is_waited_for_once_if_it_will_be_sent_soon() -> None:
    breath = Breath(rest=1.0)
    breath.spilled(30)
    breath.spilled(10)

    first = breath.after({FLOOD}, 0.02, now=5.0, settled_per_s=1000.0)
    second = breath.after({FLOOD}, 0.02, now=5.0, settled_per_s=1000.0)

    assert (first.wait_s, second.wait_s) == (0.04, 0.0)
    assert first.for_others_s == 0.0


def test_nobody_waits_for_what_will_not_be_sent_soon() -> None:
    breath = Breath(rest=1.0)
    breath.spilled(1000)

    rest = breath.after({FLOOD}, 0.02, now=5.0, settled_per_s=0.0)

    assert rest.wait_s == 0.0


@given(
    spilled=st.integers(0, 10_000),
    took_s=st.floats(0.0, 10.0),
    rest=st.floats(0.0, 20.0),
    per_s=st.floats(0.0, 1e5),
    live=st.booleans(),
)
def test_a_flood_never_waits_longer_than_it_may(
    *, spilled: int, took_s: float, rest: float, per_s: float, live: bool
) -> None:
    breath = Breath(rest=rest)
    breath.spilled(spilled)
    if live:
        breath.few({OTHER}, 5.0)

    said = breath.after({FLOOD}, took_s, now=5.0, settled_per_s=per_s)

    assert 0.0 <= said.wait_s <= max(SPILL_MOST_S, took_s * rest * live)
    assert 0.0 <= said.for_others_s <= said.wait_s
