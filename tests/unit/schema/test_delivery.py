"""The states of a delivery stand in code and in the database, and they are the same."""

import re
from pathlib import Path

import pytest

import schema
from schema.delivery import MOVES, OWED, Fault, Outcome, State

MIGRATION = Path(schema.__path__[0]) / "migrations" / "0002_delivery.sql"


def table(name: str) -> str:
    sql = MIGRATION.read_text()
    found = re.search(rf"^CREATE TABLE {name} \((.*?)^\)", sql, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found.group(1)


def listed(sql: str, before: str) -> set[str]:
    found = re.search(rf"{before}\s*\(+state IN \(([^)]*)\)", sql)
    assert found is not None
    return set(re.findall(r"'(\w+)'", found.group(1)))


def test_the_states_that_the_database_takes_are_those_that_have_moves() -> None:
    delivery = table("delivery")

    taken = listed(delivery, r"DEFAULT 'pending'\s+CHECK")

    assert taken == {state.value for state in MOVES} == {state.value for state in State}


def test_the_states_that_must_be_due_are_those_that_are_owed() -> None:
    delivery = table("delivery")

    due = listed(delivery, "CONSTRAINT delivery_due_when_owed CHECK")

    assert due == {state.value for state in OWED}


def test_every_state_is_reached_from_the_first() -> None:
    reached, ahead = {State.PENDING}, [State.PENDING]
    while ahead:
        new = MOVES[ahead.pop()] - reached
        reached |= new
        ahead += new

    assert reached == set(State)


def test_no_state_is_a_trap() -> None:
    assert all(MOVES[state] for state in State)


def test_what_has_ended_can_only_start_anew() -> None:
    ended = set(State) - OWED

    assert {state: MOVES[state] for state in ended} == {
        state: frozenset({State.PENDING}) for state in ended
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_a_success(status: int) -> None:
    assert Outcome(status=status).succeeded


@pytest.mark.parametrize("status", [101, 199, 300, 304, 400, 410, 429, 500, 599])
def test_no_other_status_is_a_success(status: int) -> None:
    assert not Outcome(status=status).succeeded


@pytest.mark.parametrize("fault", Fault)
def test_no_fault_is_a_success(fault: Fault) -> None:
    assert not Outcome(fault=fault).succeeded
