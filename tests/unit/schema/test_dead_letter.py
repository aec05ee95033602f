"""The states of letters, groups and rejected events stand in code and in the database alike."""

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schema
from schema.dead_letter import (
    GROUP_MOVES,
    LETTER_MOVES,
    REJECTED_MOVES,
    ErrorClass,
    GroupState,
    LetterState,
    RejectedState,
    class_of,
)
from schema.delivery import Fault, Reason
from schema.store.dead_letter import Filter

MIGRATIONS = Path(schema.__path__[0]) / "migrations"
MOVES: dict[str, tuple[str, str, dict[Any, frozenset[Any]], type]] = {
    "letter": ("0002_delivery.sql", "CREATE TABLE dead_letter ", LETTER_MOVES, LetterState),
    "group": ("0006_dead_letter.sql", "CREATE TABLE dead_letter_group", GROUP_MOVES, GroupState),
    "rejected": (
        "0006_dead_letter.sql", "ALTER TABLE rejected_event", REJECTED_MOVES, RejectedState,
    ),
}  # fmt: skip
TEXTS = st.none() | st.lists(st.text(max_size=10), min_size=1, max_size=3).map(tuple)
NUMBERS = st.none() | st.integers(min_value=0, max_value=1_000)
TIMES = st.none() | st.datetimes(min_value=datetime(2020, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
FILTERS = st.builds(
    Filter,
    environment_id=st.text(max_size=10),
    app_ids=TEXTS,
    endpoint_ids=TEXTS,
    group_ids=TEXTS,
    states=st.lists(st.sampled_from(LetterState), min_size=1, unique=True).map(tuple),
    event_types=TEXTS,
    reasons=TEXTS,
    error_classes=TEXTS,
    fault=st.none() | st.sampled_from([str(fault) for fault in Fault]),
    statuses=st.none() | st.tuples(st.integers(0, 599), st.integers(0, 599)),
    before=TIMES,
    after=TIMES,
    least_attempts=NUMBERS,
    most_attempts=NUMBERS,
    text=st.none() | st.text(max_size=10),
    path=st.none() | st.text(max_size=10),
)


@pytest.mark.parametrize("noun", MOVES)
def test_the_states_that_the_database_takes_are_those_that_have_moves(noun: str) -> None:
    file, begin, moves, states = MOVES[noun]
    sql = (MIGRATIONS / file).read_text()

    found = re.search(r"CHECK\s*\(state IN \(([^)]*)\)", sql[sql.index(begin) :])

    assert found is not None
    taken = set(re.findall(r"'(\w+)'", found[1]))
    assert taken == {str(state) for state in moves} == {str(state) for state in states}


def test_every_kind_of_failure_comes_of_something() -> None:
    statuses: list[tuple[int | None, Fault | None]] = [(s, None) for s in (101, 302, 404, 500)]
    outcomes = statuses + [(None, fault) for fault in Fault]

    found = {class_of(reason, *outcome) for reason in Reason for outcome in outcomes}

    assert found == set(ErrorClass)


@given(FILTERS)
def test_a_filter_comes_back_from_json_as_it_was(wanted: Filter) -> None:
    stored = orjson.loads(orjson.dumps(wanted.to_json()))

    assert Filter.from_json(stored) == wanted


def test_a_filter_writes_what_it_asks_for_alone() -> None:
    assert Filter(environment_id="org_1").to_json() == {"environment_id": "org_1"}
