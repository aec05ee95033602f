"""What an app may publish, on a clock that the test turns."""

from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.config import GatewayConfig
from gateway.limits import BacklogFull, Limits, RateLimited
from gateway.problems import respond
from schema.store.link import Pool

CONFIG = GatewayConfig(app_events_per_s=3, app_backlog=10)
NO_POOL = cast("Pool", None)  # nothing is counted here


class Clock:
    now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


def limits(clock: Clock, **other: Any) -> Limits:
    return Limits(NO_POOL, replace(CONFIG, **other), monotonic_s=clock)


def test_the_events_of_a_second_pass_and_the_next_is_told_when_to_come_again() -> None:
    clock = Clock()
    given = limits(clock)

    admitted = [given.admit("a", 1) for _ in range(3)]
    with pytest.raises(RateLimited) as raised:
        given.admit("a", 1)
    clock.now_s += 1 / 3 + 0.001
    later = given.admit("a", 1)

    answered = respond(raised.value)
    assert (admitted, later) == ([1, 1, 1], 1)
    assert answered.status_code == 429
    assert answered.headers["retry-after"] == "1"
    assert answered.headers["ratelimit-policy"] == '"events";q=3;w=1'
    assert answered.headers["ratelimit"] == '"events";r=0;t=1'
    assert b"HOOKLINE_APP_EVENTS_PER_S" in answered.body


def test_of_many_as_many_as_are_left_are_admitted() -> None:
    given = limits(Clock())

    given.admit("a", 1)

    assert given.headers("a")["ratelimit"] == '"events";r=2;t=1'
    assert given.admit("a", 100) == 2


def test_an_app_that_is_owed_its_most_is_refused_until_it_is_counted_again() -> None:
    given = limits(Clock(), app_events_per_s=0)
    given.accepted("a", 9)

    before = given.admit("a", 1)
    given.accepted("a", 1)
    with pytest.raises(BacklogFull) as raised:
        given.admit("a", 1)

    answered = respond(raised.value)
    assert before == 1
    assert (answered.status_code, answered.headers["retry-after"]) == (429, "5")
    assert b"HOOKLINE_APP_BACKLOG" in answered.body
    assert given.admit("b", 1) == 1


def test_without_limits_everything_passes_and_no_header_speaks_of_any() -> None:
    given = limits(Clock(), app_events_per_s=0, app_backlog=0)

    given.accepted("a", 10_000_000)

    assert given.admit("a", 1_000) == 1_000
    assert given.headers("a") == {}
