"""Alert rules: when operators are told that something is wrong, and when that it is over. Pure.

A rule is raised for the first that reaches its threshold, and cleared when all have fallen below
`clear_below`. What joins or leaves in between is told together, not more often than every so many
seconds, so that an outage of a thousand apps is one alert with a few updates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from schema.operational import Kind

MIN_WINDOW_S: Final = 60
MAX_WINDOW_S: Final = 3_600


class Measure(StrEnum):
    """What a rule looks at: of each app, or of each endpoint the percent of failed attempts."""

    PARKED_COUNT = "parked_count"
    PARKED_PER_MINUTE = "parked_per_minute"
    OLDEST_PARKED_S = "oldest_parked_s"
    FAILURE_PERCENT = "failure_percent"


class Subject(NamedTuple):
    """Whom an alert is about: an app, or one of its endpoints."""

    app_id: str
    endpoint_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRule:
    """When to raise an alert. `app_ids`: None is all. Durations are seconds."""

    environment_id: str
    id: str
    name: str
    measure: Measure
    threshold: int
    clear_below: int
    window_s: int
    least_attempts: int  # in the window, below which an endpoint is not judged
    app_ids: tuple[str, ...] | None
    enabled: bool
    created_at: datetime
    updated_at: datetime
    raised_at: datetime | None = None
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """That a rule was raised for somebody, since when, and until when if it is over.

    `told`: whether listeners know that it began and not yet that it is over.
    """

    subject: Subject
    value: float
    raised_at: datetime
    cleared_at: datetime | None = None
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """What a look at a rule came to.

    Attributes:
        kind: What is told; None: nothing.
        raised: About whom it is told that it began.
        cleared: About whom it is told that it is over.
        alerts: Who is known from now on; those that are over and told are not.
        raised_at: Since when the rule is raised.
    """

    kind: Kind | None
    raised: Sequence[Alert]
    cleared: Sequence[Alert]
    alerts: Sequence[Alert]
    raised_at: datetime | None


def rule_fields(rule: AlertRule) -> dict[str, object]:
    """Give what is said of a rule, by the API and in events."""
    return {
        "id": rule.id,
        "name": rule.name,
        "kind": rule.measure,
        "threshold": rule.threshold,
        "clearBelow": rule.clear_below,
        "windowSeconds": rule.window_s,
        "leastAttempts": rule.least_attempts,
        "apps": rule.app_ids,
        "enabled": rule.enabled,
    }


def alert_fields(alert: Alert, app_uid: str | None, endpoint_uid: str | None) -> dict[str, object]:
    """Give what is said of an alert, by the API and in events."""
    return {
        "appId": alert.subject.app_id,
        "appUid": app_uid,
        "endpointId": alert.subject.endpoint_id or None,
        "endpointUid": endpoint_uid,
        "value": round(alert.value, 3),
        "raisedAt": alert.raised_at,
        "clearedAt": alert.cleared_at,
    }


def review(
    rule: AlertRule,
    present: Mapping[Subject, Alert],
    measured: Mapping[Subject, float],
    *,
    now: datetime,
    update_s: float,
) -> Review:
    """Compare what was known with what was measured, and say what is to be told.

    Args:
        rule: As it is stored; one that is not enabled is over.
        present: Who was known.
        measured: Those at `clear_below` or above, with their values.
        now: The time of the look.
        update_s: How long to gather what joins and leaves while the rule is raised.
    """
    alerts = _looked_at(rule, present, measured, now)
    is_open = [alert for alert in alerts if alert.cleared_at is None]
    raised = [alert for alert in is_open if not alert.told]
    cleared = [alert for alert in alerts if alert.cleared_at is not None and alert.told]
    kind = _kind(rule, is_open=bool(is_open), news=bool(raised or cleared))
    if kind is Kind.ALERT_UPDATED and not _may_update(rule, now, update_s):
        kind = None
    tells = kind is not None
    return Review(
        kind=kind,
        raised=raised if tells else (),
        cleared=cleared if tells else (),
        alerts=[replace(alert, told=True) for alert in is_open] if tells else is_open + cleared,
        raised_at=(rule.raised_at or now) if is_open else None,
    )


def _looked_at(
    rule: AlertRule,
    present: Mapping[Subject, Alert],
    measured: Mapping[Subject, float],
    now: datetime,
) -> list[Alert]:
    """Give everybody that is known, as it is now."""
    alerts = []
    for subject, value in measured.items():
        known = present.get(subject)
        if known is not None and known.cleared_at is None:
            alerts.append(replace(known, value=value))
        elif value >= rule.threshold:
            told = known is not None and known.told
            alerts.append(Alert(subject=subject, value=value, raised_at=now, told=told))
    still = {alert.subject for alert in alerts}
    alerts += [
        replace(known, cleared_at=known.cleared_at or now)
        for subject, known in present.items()
        if subject not in still
    ]
    return alerts


def _kind(rule: AlertRule, *, is_open: bool, news: bool) -> Kind | None:
    if rule.raised_at is None:
        return Kind.ALERT_RAISED if is_open else None
    if not is_open:
        return Kind.ALERT_CLEARED
    return Kind.ALERT_UPDATED if news else None


def _may_update(rule: AlertRule, now: datetime, update_s: float) -> bool:
    return rule.told_at is None or now >= rule.told_at + timedelta(seconds=update_s)
