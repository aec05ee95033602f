"""Settings are what Svix's API has; what is nonsense is told, or counts as never set."""

import pytest

from schema.environment_settings import FOR_TENANTS, KNOWN, Rules, fault_of, whole


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enforceHttps", "yes"),
        ("enforceHttps", None),
        ("endpointsPerAppLimit", 0),
        ("endpointsPerAppLimit", True),
        ("endpointsPerAppLimit", 2**32),
        ("displayName", 7),
        ("colorPaletteLight", []),
        ("advancedEndpointTypes", {}),
    ],
)
def test_what_a_setting_cannot_be_is_told(name: str, value: object) -> None:
    assert fault_of(name, value, replaces=False)


@pytest.mark.parametrize(
    ("name", "value"),
    [("enforceHttps", False), ("displayName", None), ("customColor", "#fff"), ("new", object())],
)
def test_what_a_setting_can_be_is_taken(name: str, value: object) -> None:
    assert fault_of(name, value, replaces=False) is None


def test_null_is_absent_where_all_settings_are_replaced() -> None:
    assert fault_of("enforceHttps", None, replaces=True) is None


def test_defaults_stand_for_what_was_never_set() -> None:
    shown = whole({"displayName": "Acme", "new": 1})

    assert shown.keys() == KNOWN.keys() | {"new"}
    assert (shown["displayName"], shown["disableEndpointOnFailure"]) == ("Acme", True)
    assert set(FOR_TENANTS) <= KNOWN.keys()


def test_nonsense_that_somebody_else_wrote_counts_as_never_set() -> None:
    odd = {"enforceHttps": 1, "endpointsPerAppLimit": "many", "disableEndpointOnFailure": None}

    assert Rules.of(odd) == Rules.of({})
