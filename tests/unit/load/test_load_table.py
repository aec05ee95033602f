import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.load.bench import ROWS
from tests.load.table import COLUMNS, Bound, Figure, Section, as_json, as_text, at_least, at_most

ROOT = Path(__file__).parents[3]
FAST = Figure(name="deliveries", value=6_000, unit="/s", baseline=500.0)


def lines(*figures: Figure) -> list[str]:
    return as_text([Section(row="b", title="deliveries", figures=figures)]).splitlines()


def test_a_figure_stands_beside_its_baseline_and_its_bound() -> None:
    figure = Figure(
        name="CPU each, dispatcher",
        value=98.76,
        unit="us",
        baseline=1_950.0,
        held_to=at_most(100),
    )

    line = lines(figure)[-1]

    assert line.split() == [
        *("CPU", "each,", "dispatcher", "98.8", "us", "1,950", "us", "0.0506"),
        *("<=", "100", "us", "yes"),
    ]


def test_a_bound_may_be_so_many_times_the_baseline() -> None:
    reached = replace(FAST, held_to=at_least(12, of_baseline=True))
    missed = replace(FAST, held_to=at_least(12.1, of_baseline=True))

    assert (reached.reached, missed.reached) == (True, False)
    assert lines(missed)[-1].split()[-5:] == ["12", ">=", "12.1", "x", "NO"]


def test_a_bound_of_a_baseline_that_is_not_there_is_neither_reached_nor_missed() -> None:
    figure = Figure(name="n", value=1, unit="/s", held_to=at_least(2, of_baseline=True))

    assert figure.reached is None


@pytest.mark.parametrize(
    ("bound", "reached"),
    [(at_most(0), False), (at_most(1), True), (at_least(1), True), (at_least(1.5), False)],
)
def test_a_bound_includes_its_value(bound: Bound, reached: object) -> None:
    figure = Figure(name="n", value=1, unit="", held_to=bound)

    assert figure.reached is reached


def test_a_figure_that_is_held_to_nothing_is_not_judged() -> None:
    assert FAST.reached is None
    assert lines(FAST)[-1].endswith(" 12")


def test_a_baseline_of_nothing_has_no_ratio() -> None:
    assert Figure(name="n", value=1, unit="us", baseline=0.0).ratio is None


def test_the_columns_stand_under_each_other_and_fit() -> None:
    widest = Figure(
        name="x" * 42, value=9_999_999, unit="/s", baseline=9_999_999, held_to=at_least(9_999_999)
    )

    head, *_, first, second = lines(FAST, widest)

    assert len(head) <= COLUMNS
    assert len(second) <= COLUMNS
    assert first.index("6,000 /s") + len("6,000 /s") == head.index("measured") + len("measured")


def test_a_row_that_failed_says_so_beside_what_it_had_measured() -> None:
    failed = Section(row="b", title="deliveries", figures=[FAST], error="E: " + "x" * 200)

    text = as_text([failed, Section(row="c", title="fan-out", figures=[FAST])])

    assert text.count("6,000 /s") == 2
    assert "ERROR E: x" in text
    assert max(map(len, text.splitlines())) <= COLUMNS


def test_what_is_kept_can_be_written_as_json() -> None:
    figure = replace(FAST, held_to=at_least(4_000), samples=3)

    (kept,) = json.loads(json.dumps(as_json([Section(row="b", title="t", figures=[figure])])))

    assert kept["row"] == "b"
    assert kept["error"] is None
    assert kept["figures"][0]["ratio"] == 12
    assert kept["figures"][0]["reached"] is True
    assert kept["figures"][0]["held_to"] == {"value": 4_000, "least": True, "of_baseline": False}


def test_the_titles_of_the_rows_fit() -> None:
    assert max(len(f"({letter}) {row.title}") for letter, row in ROWS.items()) <= COLUMNS


def test_the_page_explains_every_row_in_its_order() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()

    explained = re.findall(r"^\*\*\((\w)\)", page, re.MULTILINE)

    assert explained == [*ROWS]
