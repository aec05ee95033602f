"""Ids sort by their time, say it again, and are told from anything else."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema import ids

STEP = ids.MOMENT
BEGIN = datetime.fromtimestamp(ids.EPOCH_S, UTC)
END = BEGIN + timedelta(seconds=2**32) - STEP
NOW = datetime(2026, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
PREFIXES = (ids.APP, ids.ENDPOINT, ids.MESSAGE, ids.ATTEMPT, ids.DEAD_LETTER, ids.REJECTED_EVENT)

moments = st.datetimes(BEGIN.replace(tzinfo=None), END.replace(tzinfo=None), timezones=st.just(UTC))
chances = st.binary(min_size=ids.CHANCE_BYTES, max_size=ids.CHANCE_BYTES)
# The smallest and the largest letter.
extremes = st.sampled_from([bytes(ids.CHANCE_BYTES), bytes([61]) * ids.CHANCE_BYTES]) | chances


@given(moments, st.integers(1, 10_000), extremes, extremes)
def test_the_id_of_a_later_step_sorts_behind_whatever_chance_brings(
    at: datetime, steps: int, early: bytes, late: bytes
) -> None:
    later = min(at + steps * STEP, END)

    first, second = ids.new_id(ids.MESSAGE, at, early), ids.new_id(ids.MESSAGE, later, late)

    assert (first < second) or later - at < STEP


@given(moments, extremes, st.sampled_from(PREFIXES))
def test_an_id_says_its_moment_to_4_ms(at: datetime, chance: bytes, prefix: str) -> None:
    told = ids.time_of(ids.new_id(prefix, at, chance))

    assert timedelta() <= at - told < STEP


@given(moments, extremes)
def test_the_rough_time_of_an_id_is_right_to_8_ms(at: datetime, chance: bytes) -> None:
    assert abs(at - ids.rough_time_of(ids.new_id(ids.MESSAGE, at, chance))) <= 2 * STEP


@given(moments, extremes)
def test_every_id_of_a_moment_lies_between_its_first_and_the_next_moments_first(
    at: datetime, chance: bytes
) -> None:
    lower = ids.first_id(ids.MESSAGE, at)
    upper = ids.first_id(ids.MESSAGE, at + STEP) if at + STEP <= END else "msg_~"

    made = ids.new_id(ids.MESSAGE, at, chance)

    assert lower <= made < upper


@given(moments)
def test_the_first_id_of_a_moment_is_an_id_and_says_it(at: datetime) -> None:
    first = ids.first_id(ids.MESSAGE, at)

    assert ids.is_id(ids.MESSAGE, first)
    assert timedelta() <= at - ids.time_of(first) < STEP


@given(moments, extremes, st.sampled_from(PREFIXES))
def test_a_made_id_is_an_id_of_its_prefix_alone(at: datetime, chance: bytes, prefix: str) -> None:
    made = ids.new_id(prefix, at, chance)

    assert [other for other in PREFIXES if ids.is_id(other, made)] == [prefix]


def test_ids_of_one_moment_differ() -> None:
    made = {ids.new_id(ids.MESSAGE, NOW) for _ in range(1_000)}

    assert len(made) == 1_000


def test_the_same_moment_in_another_zone_is_the_same_id() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7)))

    assert ids.first_id(ids.MESSAGE, elsewhere) == ids.first_id(ids.MESSAGE, NOW)


def test_a_derived_id_is_the_same_for_the_same_source_and_no_other() -> None:
    made = ids.derived_id(ids.MESSAGE, NOW, b"17")

    assert made == ids.derived_id(ids.MESSAGE, NOW, b"17")
    assert made != ids.derived_id(ids.MESSAGE, NOW, b"18")
    assert ids.time_of(made) == NOW.replace(microsecond=888_000)


@pytest.mark.parametrize("at", [BEGIN - STEP, END + STEP], ids=["before-2014", "after-2150"])
def test_a_moment_that_an_id_cannot_say_is_refused(at: datetime) -> None:
    with pytest.raises(ValueError, match="outside of what an id can say"):
        ids.new_id(ids.MESSAGE, at)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "msg_",
        "msg_" + "0" * 26,
        "msg_" + "0" * 28,
        "msg_" + "0" * 26 + "-",
        "msg_" + "0" * 26 + "\n",
        "msg_" + "0" * 26 + "é",
        "msg_" + "0" * 26 + "٣",  # a digit, though none of ours
        "MSG_" + "0" * 27,
        "app_" + "0" * 27,
        "0" * 31,
    ],
)
def test_what_is_no_id_is_told_apart(text: str) -> None:
    assert not ids.is_id(ids.MESSAGE, text)


@pytest.mark.parametrize("text", ["", "msg_0", "msg_" + "0" * 26 + "-", "msg_" + "z" * 27])
def test_the_time_of_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        ids.time_of(text)


@given(st.text(max_size=40), st.integers(1, 1_024))
def test_a_shard_is_one_of_those_there_are(app_id: str, shards: int) -> None:
    assert 0 <= ids.shard_of(app_id, shards) < shards


@pytest.mark.parametrize(
    ("text", "value"), [("", 0x811C9DC5), ("a", 0xE40C292C), ("foobar", 0xBF9CF968)]
)
def test_the_shard_is_the_published_fnv_1a_hash(text: str, value: int) -> None:
    assert ids.shard_of(text, 2**32) == value
