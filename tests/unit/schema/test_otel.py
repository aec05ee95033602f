"""Where traces go, and when a collector is tried again."""

import pytest

from schema.address import AddressPolicy, UrlFault
from schema.otel import LONGEST_WAIT_S, target, wait_s

PUBLIC = AddressPolicy()


@pytest.mark.parametrize(
    ("given", "sent_to"),
    [
        ("https://otel.example.com", "https://otel.example.com/v1/traces"),
        ("https://otel.example.com:4318/", "https://otel.example.com:4318/v1/traces"),
        ("https://otel.example.com/otlp", "https://otel.example.com/otlp"),
        ("https://otel.example.com/v1/traces?team=1", "https://otel.example.com/v1/traces?team=1"),
        ("https://otel.example.com/?team=1", "https://otel.example.com/?team=1"),
    ],
)
def test_traces_go_to_the_path_of_the_url_or_else_to_that_of_otlp(given: str, sent_to: str) -> None:
    assert target(given, PUBLIC).text == sent_to


@pytest.mark.parametrize("given", ["http://127.0.0.1:4318", "ftp://otel.example.com", "otel", ""])
def test_a_collector_is_where_endpoints_may_be_and_nowhere_else(given: str) -> None:
    with pytest.raises(UrlFault):
        target(given, PUBLIC)


def test_a_collector_that_fails_is_left_alone_for_longer_and_longer() -> None:
    waits = [wait_s(n, dice=0.0, retry_after_s=None) for n in range(1, 9)]

    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
    assert wait_s(1, dice=0.5, retry_after_s=None) == pytest.approx(5.25)
    assert wait_s(10_000, dice=0.9, retry_after_s=None) == LONGEST_WAIT_S


@pytest.mark.parametrize(("asked_s", "waits_s"), [(1.0, 5.0), (60.0, 60.0), (9_999.0, 300.0)])
def test_what_a_collector_asks_for_lengthens_a_wait_up_to_the_longest(
    asked_s: float, waits_s: float
) -> None:
    assert wait_s(1, dice=0.0, retry_after_s=asked_s) == waits_s
