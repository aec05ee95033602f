"""Keys can be told from other texts before anything is looked up, and are stored as a hash."""

import hashlib
import re
import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schema.api_key import hash_of, mint, well_formed

BASE62 = string.digits + string.ascii_letters
# Made once; if it is refused one day, so is every key that was handed out.
KEPT = "hk_0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg37cCQ0"


def test_a_minted_key_is_well_formed_and_has_no_dot() -> None:
    key = mint()

    assert re.fullmatch(r"hk_[0-9A-Za-z]{49}", key)
    assert well_formed(key)


def test_a_key_that_was_handed_out_stays_well_formed() -> None:
    assert well_formed(KEPT)


def test_no_two_keys_are_the_same() -> None:
    assert len({mint() for _ in range(1_000)}) == 1_000


@given(st.integers(3, 51), st.sampled_from(BASE62))
def test_a_key_with_one_wrong_letter_is_refused(place: int, letter: str) -> None:
    key = mint()

    mistyped = key[:place] + letter + key[place + 1 :]

    assert well_formed(mistyped) == (mistyped == key)


@given(st.text(max_size=60))
def test_no_text_at_all_makes_the_check_fail(text: str) -> None:
    assert not well_formed(text)
    assert not well_formed("hk_" + text)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda key: key[:-1], id="cut"),
        pytest.param(lambda key: key + "0", id="longer"),
        pytest.param(lambda key: key + "\n", id="newline"),
        pytest.param(lambda key: " " + key, id="space"),
        pytest.param(lambda key: key.removeprefix("hk_"), id="no-prefix"),
        pytest.param(lambda key: "hk_" + key, id="prefix-twice"),
        pytest.param(lambda key: "HK_" + key[3:], id="prefix-in-capitals"),
        pytest.param(lambda key: key[:-1] + "é", id="not-ascii"),
        pytest.param(lambda _: "hk_" + "\ud800" * 49, id="no-text-that-can-be-encoded"),
    ],
)
def test_a_spoilt_key_is_refused(spoil: Callable[[str], str]) -> None:
    assert not well_formed(spoil(mint()))


def test_what_is_stored_is_the_sha256_of_the_whole_text() -> None:
    key = mint()

    assert hash_of(key) == hashlib.sha256(key.encode()).digest()
