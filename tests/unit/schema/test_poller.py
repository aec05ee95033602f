"""What a consumer of a poller has in hand."""

from datetime import UTC, datetime, timedelta

import pytest

from schema.poller import Lease

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=30)
NEW = Lease(read_to="a", first_offset=0)
HELD = NEW.taken(["b", "c", "d"], LATER)


def test_what_is_leased_is_held_until_the_lease_is_over() -> None:
    assert HELD.holds(NOW)
    assert not HELD.holds(LATER)
    assert not NEW.taken([], LATER).holds(NOW)


def test_a_commit_is_done_with_all_before_it() -> None:
    some = HELD.committed(1)

    assert (some.read_to, some.first_offset, some.message_ids) == ("c", 2, ("d",))
    assert some.holds(NOW)
    assert not some.committed(2).holds(NOW)
    assert some.committed(0) == some


def test_an_offset_of_nothing_that_was_given_is_refused() -> None:
    with pytest.raises(LookupError):
        HELD.committed(3)
    with pytest.raises(LookupError):
        NEW.committed(0)


def test_messages_that_are_leased_again_keep_their_offsets() -> None:
    again = HELD.committed(0).taken(["c", "d", "e"], LATER)

    assert again.first_offset == 1
    assert again.committed(3).read_to == "e"


@pytest.mark.parametrize("others", [["b", "d"], ["b"], ["e", "f", "g"], []])
def test_an_offset_never_means_another_message_than_it_did(others: list[str]) -> None:
    assert HELD.taken(others, LATER).first_offset == 3


def test_what_was_passed_by_is_not_gone_back_to() -> None:
    late = Lease(read_to="z", first_offset=0, message_ids=("b",))

    assert late.committed(0).read_to == "z"
