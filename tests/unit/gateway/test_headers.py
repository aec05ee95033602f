"""Which headers a tenant may add, and how a change is merged."""

import pytest

from gateway.body import Fields
from gateway.headers import merged, read_headers, seal, split, unseal
from schema.header_rules import MAX_HEADERS
from signer.vault import Vault


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "host",
        "Connection",
        "User-Agent",
        "transfer-encoding",
        "Proxy-Authorization",
        "Svix-Id",
        "webhook-signature",
        "X-Amz-Date",
        "x-goog-anything",
        "two words",
        "line\nbreak",
        "",
        "é",
    ],
)
def test_a_name_that_is_reserved_or_malformed_is_refused(name: str) -> None:
    fields = Fields({"headers": {name: "x"}})

    read_headers(fields)

    assert [fault.loc for fault in fields.faults] == [("body", "headers")]


@pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "x" * 4_097, "é", " padded", "\x7f"])
def test_a_value_that_could_break_a_request_is_refused(value: str) -> None:
    fields = Fields({"headers": {"X-A": value}})

    read_headers(fields)

    assert fields.faults


@pytest.mark.parametrize("value", ["", "x", "Bearer a b", "x" * 4_096])
def test_plain_values_are_taken(value: str) -> None:
    fields = Fields({"headers": {"X-A": value}})

    assert read_headers(fields) == {"X-A": value}
    assert not fields.faults


def test_there_are_so_many_headers_and_no_more() -> None:
    fields = Fields({"headers": {f"X-{n}": "" for n in range(MAX_HEADERS + 1)}})

    read_headers(fields)

    assert fields.faults


def test_one_name_in_two_spellings_is_refused() -> None:
    fields = Fields({"headers": {"X-A": "1", "x-a": "2"}})

    read_headers(fields)

    assert fields.faults


def test_a_change_sets_replaces_and_removes_without_regard_to_case() -> None:
    present = {"X-Keep": "1", "X-Change": "1", "X-Null": "1", "X-Delete": "1"}
    fields = Fields(
        {
            "headers": {"x-change": "2", "x-null": None, "x-absent": None, "X-New": "1"},
            "deleteHeaders": ["x-delete", "x-unknown"],
        }
    )

    assert merged(fields, present) == {"X-Keep": "1", "x-change": "2", "X-New": "1"}
    assert not fields.faults


def test_credentials_are_named_but_not_shown() -> None:
    assert split({"X-Plain": "1", "AUTHORIZATION": "secret", "x-Api-Key": "secret"}) == (
        {"X-Plain": "1"},
        ["AUTHORIZATION", "x-Api-Key"],
    )


def test_headers_at_rest_open_only_for_their_endpoint() -> None:
    vault = Vault({"k": bytes(32)}, "k")

    sealed = seal(vault, "app_1", "ep_1", {"X-A": "1"})

    assert sealed is not None
    assert b"X-A" not in sealed
    assert unseal(vault, "app_1", "ep_1", sealed) == {"X-A": "1"}
    assert seal(vault, "app_1", "ep_1", {}) is None
    assert unseal(vault, "app_1", "ep_1", None) == {}
