"""Who fills a queue waits for itself, and is refused alone."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.fair_queue import LIGHT, TURN, FairQueue


@dataclass(frozen=True)
class Item:
    of: str
    number: int
    count: int = 1
    size: int = 1


def queue(most: int = 1_000, most_size: int = 10_000) -> FairQueue[Item]:
    return FairQueue(most=most, most_size=most_size)


def filled(made: FairQueue[Item], of: str, number: int, count: int = 1) -> FairQueue[Item]:
    for n in range(number):
        made.push(of, Item(of, n, count))
    return made


def served(made: FairQueue[Item]) -> list[str]:
    return [item.of for item in made.drain()]


def test_a_party_that_comes_behind_a_flood_is_next_but_one_turn() -> None:
    made = filled(queue(), "flood", 5 * TURN)

    filled(made, "few", 2)

    assert served(made)[TURN : TURN + 2] == ["few", "few"]


def test_large_items_use_up_the_turns_of_their_party() -> None:
    made = filled(queue(), "bulk", 4, count=4 * TURN)

    filled(made, "few", 3 * TURN)

    assert served(made)[: 3 * TURN] == ["few"] * 3 * TURN


def test_a_party_that_is_alone_gets_everything_whatever_its_size() -> None:
    made = filled(queue(), "bulk", 3, count=1_000)

    assert served(made) == ["bulk"] * 3
    assert not made


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 300)), max_size=60))
def test_each_party_is_served_in_its_own_order_and_nothing_is_left(
    pushed: list[tuple[str, int]],
) -> None:
    made = queue()
    for number, (of, count) in enumerate(pushed):
        made.push(of, Item(of, number, count))

    drained = list(made.drain())

    assert sorted(item.number for item in drained) == list(range(len(pushed)))
    for of in "abc":
        own = [item.number for item in drained if item.of == of]
        assert own == sorted(own)
    assert made.count == 0


def test_a_full_queue_has_room_for_who_has_less_than_a_share_and_not_for_who_filled_it() -> None:
    made = filled(queue(most=100), "flood", 100)

    assert not made.has_room("flood", 1, 1)
    assert made.has_room("few", 1, 50)
    assert not made.has_room("few", 1, 51)


def test_a_queue_that_is_full_of_bytes_is_full() -> None:
    made = queue(most_size=100)
    made.push("flood", Item("flood", 0, size=100))

    assert not made.has_room("flood", 1, 1)
    assert made.has_room("few", 50, 1)
    assert not made.has_room("few", 51, 1)


def test_however_many_parties_come_a_queue_holds_no_more_than_twice_its_bounds() -> None:
    made = filled(queue(most=100), "flood", 100)
    for party in range(1_000):
        while made.has_room(f"p{party}", 1, 1):
            filled(made, f"p{party}", 1)

    assert made.count == 200


def test_an_empty_queue_has_room_for_anything() -> None:
    assert queue(most=10, most_size=10).has_room("any", 1_000, 1_000)


def test_who_has_little_in_the_queue_is_taken_past_a_crowd() -> None:
    made = filled(filled(filled(queue(), "flood", 2 * TURN), "few", 3), "many", LIGHT + 1)

    taken = [(item.of, item.number) for item in made.take_light(10)]

    assert taken == [("few", 0), ("few", 1), ("few", 2)]
    assert made.count == 2 * TURN + LIGHT + 1
    assert made.take_light(10) == []
    assert "few" not in served(made)


def test_nobody_is_taken_past_others_that_crowd_nothing() -> None:
    made = filled(filled(queue(), "some", TURN), "few", 1)

    assert made.take_light(10) == []


def test_no_more_goes_past_a_crowd_than_there_is_room_for() -> None:
    made = filled(queue(), "flood", 2 * TURN)
    for party in range(5):
        filled(made, f"p{party}", 2)

    assert [item.of for item in made.take_light(5)] == ["p0", "p0", "p1", "p1"]
    assert made.take_light(0) == []


def test_what_went_past_a_crowd_leaves_its_room_to_others() -> None:
    made = filled(filled(queue(most=100), "flood", 98), "few", 2)
    made.take_light(2)

    assert made.has_room("few", 1, 2)
    assert not made.has_room("flood", 1, 3)
