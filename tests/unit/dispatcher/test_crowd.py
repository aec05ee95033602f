"""Who crowds a shard is left out; all others are read past them."""

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.crowd import NAMES, REST, crowding, name_in, passing


def subjects(**numbers: int) -> list[str]:
    return [f"shard.7.{name}.a.b" for name, number in numbers.items() for _ in range(number)]


def test_one_app_that_has_most_of_what_waits_is_the_crowd() -> None:
    assert crowding(subjects(flood=250, victim=4, other=2)) == {"flood"}


def test_several_apps_may_be_the_crowd_together() -> None:
    assert crowding(subjects(a=40, b=40, c=40, victim=3)) == {"a", "b", "c"}


def test_an_app_alone_is_a_crowd() -> None:
    assert crowding(subjects(alone=1)) == {"alone"}


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 40)))
def test_of_what_waits_few_are_read_past_the_crowd(numbers: dict[str, int]) -> None:
    waiting = subjects(**numbers)

    crowd = crowding(waiting)
    left = [s for s in waiting if name_in(s) not in crowd]

    assert len(left) <= len(waiting) // REST


def test_all_apps_of_the_stream_that_do_not_crowd_it_pass_in_order() -> None:
    found = passing(["shard.7.b.x", "shard.7.a.x", "shard.7.a.y.z", "shard.7.flood.x"], {"flood"})

    assert found == (["a", "b"], 0)


def test_what_fits_no_shard_or_would_be_a_wildcard_does_not_pass() -> None:
    strange = ["events.odd", "shard.7.*.x", "shard.7.>.x", "shard.7"]

    assert passing([*strange, "shard.7.a.x"], {"flood"}) == (["a"], 0)


def test_apps_that_have_no_room_in_a_filter_are_counted() -> None:
    many = [f"shard.7.app{n}.x" for n in range(NAMES + 3)]

    names, left_out = passing(many, {"app0"})

    assert (len(names), left_out) == (NAMES, 2)
