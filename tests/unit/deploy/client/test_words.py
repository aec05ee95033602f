from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.client import words

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@given(st.text())
def test_a_plain_text_has_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = words.plain(text)

    assert len(shown) == len(text)
    assert not set(shown) & {*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u2028"}


def test_lines_and_tabs_may_stay() -> None:
    assert words.plain("a\n\tb\r\x1b", lines=True) == "a\n\tb··"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0s"), (59.4, "59s"), (60, "1m"), (3_725, "1h 2m"), (86_400, "1d"), (90_061, "1d 1h")],
)
def test_a_duration_has_its_two_largest_steps(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("size", "said"), [(None, "-"), (0, "0 B"), (999, "999 B"), (1_500, "1.5 kB"), (2e9, "2.0 GB")]
)
def test_a_size_has_a_unit(size: int | None, said: str) -> None:
    assert words.size(size) == said


def test_a_time_is_told_with_its_age_or_how_far_it_is() -> None:
    assert words.age("2026-01-01T20:59:59.5Z", NOW) == "3h"
    assert words.when("2026-01-01T21:00:00Z", NOW) == "2026-01-01 21:00:00Z (3h ago)"
    assert words.when("2026-01-02T00:30:00Z", NOW) == "2026-01-02 00:30:00Z (in 30m)"
    assert words.when(None, NOW) == "-"


def test_a_trend_shows_the_smallest_and_the_largest() -> None:
    assert words.trend([0, 1, 500, 1_000]) == "·▁▄█"
    assert words.trend([]) == ""


def test_a_long_document_is_cut_and_says_so() -> None:
    shown = words.document("x" * 10_001)

    assert shown.endswith("x\n… 10,001 in all: --json")
    assert words.document({"a": 1}) == '{\n  "a": 1\n}'
