from datetime import UTC, datetime
from typing import Any

import pytest

from deploy.cli import _parser
from deploy.client.chosen import ahead, filter_of
from deploy.faults import StartFault
from gateway.letters import FILTERS

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def query(*flags: str, apps: tuple[str, ...] = ()) -> dict[str, Any]:
    return filter_of(_parser().parse_args(["dlq", "list", *flags]), apps, NOW)


def test_no_flag_is_no_parameter() -> None:
    assert query() == {}


def test_every_filter_of_the_api_has_a_flag() -> None:
    given = query(
        "--state=all", "--endpoint=e", "--group=g", "--event-type=t", "--why=gone",
        "--error-class=dns", "--fault=dns", "--status=503", "--after=1h", "--before=1h",
        "--attempts-min=1", "--attempts-max=2", "--text=t", "--payload-path=$", apps=("a", "b"),
    )  # fmt: skip

    assert given.keys() | query("--status=5xx").keys() == FILTERS


def test_lists_are_repeated_or_have_commas() -> None:
    assert query("--why", "gone,expired", "--why", "aborted")["reason"] == [
        "gone", "expired", "aborted",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("503", {"status_code": 503}),
        ("5xx", {"status_code_class": 500}),
        ("none", {"status_code_class": 0}),
    ],
)
def test_a_status_is_a_code_a_class_or_none(text: str, meant: dict[str, int]) -> None:
    assert query("--status", text) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2h", "2026-01-01T22:00:00Z"),
        ("1w", "2025-12-26T00:00:00Z"),
        ("2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00Z"),
        ("2026-01-01", "2026-01-01T00:00:00Z"),
    ],
)
def test_a_time_is_ago_or_a_date(text: str, meant: str) -> None:
    assert query("--after", text)["after"] == meant


def test_a_start_is_ahead() -> None:
    assert ahead("--start-at", "30m", NOW) == "2026-01-02T00:30:00Z"


@pytest.mark.parametrize(
    "flags", [["--after", "soon"], ["--before", "999999w"], ["--status", "teapot"]]
)
def test_what_cannot_be_read_is_said_by_its_flag(flags: list[str]) -> None:
    with pytest.raises(StartFault, match=f"^{flags[0]} must be "):
        query(*flags)


def test_a_flag_is_written_out_so_that_a_misspelt_one_never_means_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as left:
        query("--stat", "parked")

    assert left.value.code == 2
    assert "--stat" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--endpoint", "--app", "--why", "--text", "--group", "--status"])
@pytest.mark.parametrize("value", ["", ",", " "])
def test_an_empty_value_is_refused_and_never_means_all(flag: str, value: str) -> None:
    with pytest.raises(SystemExit) as left:
        query(flag, value)

    assert left.value.code == 2
