"""An alert is raised once and cleared once, however many join it, and whatever the values do."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from schema.alert import Alert, AlertRule, Measure, Review, Subject, review
from schema.operational import Kind

NOW = datetime(2030, 1, 1, tzinfo=UTC)
A, B, C = (Subject(f"app_{letter}") for letter in "abc")
RULE = AlertRule(
    environment_id="org_1",
    id="alr_1",
    name="Many dead letters",
    measure=Measure.PARKED_COUNT,
    threshold=100,
    clear_below=80,
    window_s=300,
    least_attempts=20,
    app_ids=None,
    enabled=True,
    created_at=NOW,
    updated_at=NOW,
)


class Watch:
    """A rule that is looked at once a minute; updates are five minutes apart."""

    def __init__(self) -> None:
        self.rule, self.known, self.now = RULE, dict[Subject, Alert](), NOW

    def look(self, measured: Mapping[Subject, float]) -> Review:
        found = review(self.rule, self.known, measured, now=self.now, update_s=300)
        self.known = {alert.subject: alert for alert in found.alerts}
        told_at = self.rule.told_at if found.kind is None else self.now
        self.rule = replace(self.rule, raised_at=found.raised_at, told_at=told_at)
        self.now += timedelta(minutes=1)
        return found


def subjects(alerts: object) -> set[Subject]:
    assert isinstance(alerts, list | tuple)
    return {alert.subject for alert in alerts}


def test_an_alert_is_raised_once_while_the_value_stays_above_the_threshold() -> None:
    watch = Watch()

    kinds = [watch.look({A: value}).kind for value in (100, 5_000, 101)]

    assert kinds == [Kind.ALERT_RAISED, None, None]


def test_below_the_threshold_nothing_is_raised() -> None:
    watch = Watch()

    found = watch.look({A: 99})

    assert (found.kind, found.alerts, found.raised_at) == (None, [], None)


def test_a_value_that_swings_between_the_two_limits_neither_clears_nor_raises_again() -> None:
    watch = Watch()

    kinds = [watch.look({A: value}).kind for value in (120, 85, 99, 80, 130, 81)]

    assert kinds == [Kind.ALERT_RAISED, None, None, None, None, None]


def test_it_is_cleared_once_when_the_value_has_fallen_below_the_lower_limit() -> None:
    watch = Watch()
    watch.look({A: 120})

    over, after = watch.look({}), watch.look({})

    assert (over.kind, subjects(over.cleared), over.raised_at) == (Kind.ALERT_CLEARED, {A}, None)
    assert (after.kind, after.alerts) == (None, [])


def test_a_thousand_apps_that_fail_at_once_are_one_alert() -> None:
    watch = Watch()
    apps = {Subject(f"app_{number}"): 500.0 for number in range(1_000)}

    found = watch.look(apps)

    assert found.kind is Kind.ALERT_RAISED
    assert len(found.raised) == 1_000
    assert watch.look(apps).kind is None


def test_those_that_join_and_leave_later_are_told_together_when_the_pause_is_over() -> None:
    watch = Watch()
    watch.look({A: 100})

    kinds = [watch.look({B: 100, C: 100}).kind for _ in range(4)]
    update = watch.look({B: 100, C: 100})

    assert kinds == [None] * 4
    assert update.kind is Kind.ALERT_UPDATED
    assert subjects(update.raised) == {B, C}
    assert subjects(update.cleared) == {A}
    assert watch.look({B: 100, C: 100}).kind is None


def test_one_that_left_and_came_back_before_it_was_told_is_not_told_again() -> None:
    watch = Watch()
    watch.look({A: 100, B: 100})

    kinds = [watch.look(m).kind for m in ({B: 100}, {A: 100, B: 100}, *[{A: 90, B: 90}] * 5)]

    assert kinds == [None] * 7


def test_one_that_joined_and_left_within_a_pause_is_nobodys_news() -> None:
    watch = Watch()
    watch.look({A: 100})
    watch.look({A: 100, B: 100})

    found = watch.look({A: 100})

    assert subjects(found.alerts) == {A}


def test_a_rule_that_measures_nothing_any_more_is_over() -> None:
    """As that of a rule that was switched off."""
    watch = Watch()
    watch.look({A: 100, B: 100})

    found = watch.look({})

    assert (found.kind, subjects(found.cleared)) == (Kind.ALERT_CLEARED, {A, B})
