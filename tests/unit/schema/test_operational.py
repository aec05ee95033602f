"""What operators are told has one name everywhere, and ids that are the same each time."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from schema import ids
from schema.operational import Kind, app_of, is_fresh, message_of

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PAGE = (Path(__file__).parents[3] / "docs" / "operational-webhooks.md").read_text()


def test_the_page_has_every_kind_of_event_and_no_other() -> None:
    table = PAGE.partition("## Events")[2].partition("## Storms")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert {name for cell in first for name in re.findall(r"`([^`]+)`", cell)} == set(Kind)


def test_the_operational_app_of_an_environment_has_always_the_same_id() -> None:
    one, other = (ids.new_id(ids.ENVIRONMENT, NOW) for _ in range(2))

    assert app_of(one) == app_of(one) != app_of(other)
    assert ids.is_id(ids.APP, app_of(one))


def test_an_event_becomes_the_same_message_each_time_and_no_other_does() -> None:
    made = {message_of("org_1", number, NOW) for number in range(100)}

    assert len(made) == 100
    assert message_of("org_1", 7, NOW) in made
    assert message_of("org_2", 7, NOW) not in made
    assert message_of("org_1", 7, NOW + timedelta(days=1)) not in made


def test_an_event_that_waited_for_days_gets_its_message_id_from_the_stream() -> None:
    """The intake takes no id that says another day."""
    assert is_fresh(NOW, NOW + timedelta(hours=11))
    assert not is_fresh(NOW, NOW + timedelta(days=2))
