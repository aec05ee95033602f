"""Looking at alert rules: whom they hold for, what is known of that, and telling of it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from schema.alert import (
    Alert,
    AlertRule,
    Measure,
    Review,
    Subject,
    alert_fields,
    rule_fields,
)
from schema.store import operational, statements
from schema.store.alert_rule import read_alert, read_rule
from schema.store.link import Link

RuleKey: TypeAlias = tuple[str, str]  # environment, rule
NAMED: Final = 10  # of whom an event speaks by name; the others it counts

_SQL = statements.load("alert")


async def try_lock(link: Link) -> bool:
    """Tell whether this transaction is the one that looks at the rules now."""
    return bool(await link.fetchval(_SQL["try_lock"]))


async def at_work(link: Link) -> list[AlertRule]:
    """Give the rules that must be looked at, and keep others from changing them."""
    return [read_rule(row) for row in await link.fetch(_SQL["at_work"])]


async def present(link: Link) -> dict[RuleKey, dict[Subject, Alert]]:
    """Give for whom rules are raised, or were and nobody was told that it is over."""
    found: dict[RuleKey, dict[Subject, Alert]] = {}
    for row in await link.fetch(_SQL["present"]):
        alert = read_alert(row)
        found.setdefault((row["environment_id"], row["rule_id"]), {})[alert.subject] = alert
    return found


async def measure(
    link: Link, measures: Iterable[Measure], now: datetime
) -> dict[RuleKey, dict[Subject, float]]:
    """Give whom rules of some kinds do not count as clear, with their values."""
    found: dict[RuleKey, dict[Subject, float]] = {}
    for kind in measures:
        for row in await link.fetch(_SQL[kind], now):
            subject = Subject(row["app_id"], row["endpoint_id"])
            found.setdefault((row["environment_id"], row["rule_id"]), {})[subject] = row["value"]
    return found


async def write(
    link: Link, rule: AlertRule, known: Mapping[Subject, Alert], review: Review, now: datetime
) -> None:
    """Write what a look at a rule came to, and tell it.

    Args:
        link: The connection that the transaction is on.
        rule: Which.
        known: Who was known of it.
        review: What is from now on.
        now: The time of the look.
    """
    kept = {alert.subject: alert for alert in review.alerts}
    gone = [subject for subject in known if subject not in kept]
    news = [alert for subject, alert in kept.items() if known.get(subject) != alert]
    if gone:
        await link.execute(_SQL["forget"], rule.environment_id, rule.id, *_columns(gone))
    if news:
        await link.execute(
            _SQL["keep"],
            rule.environment_id,
            rule.id,
            *_columns([alert.subject for alert in news]),
            [alert.value for alert in news],
            [alert.raised_at for alert in news],
            [alert.cleared_at for alert in news],
            [alert.told for alert in news],
        )
    if review.kind is not None:
        about = [*review.raised, *review.cleared]
        still = sum(alert.cleared_at is None for alert in review.alerts)
        await tell(link, rule, review.kind, about, still=still, now=now)
        await link.execute(_SQL["told"], rule.environment_id, rule.id, review.raised_at, now)


async def tell(
    link: Link, rule: AlertRule, kind: str, about: Sequence[Alert], *, still: int, now: datetime
) -> None:
    """Have it published that something of a rule began or is over.

    Args:
        link: The connection that the transaction is on.
        rule: Which.
        kind: The event type.
        about: For whom; the worst are named.
        still: For how many the rule is raised from now on.
        now: The time.
    """
    worst = sorted(about, key=lambda a: (a.cleared_at is not None, -a.value))[:NAMED]
    uids = await names(link, [alert.subject for alert in worst])
    data = {
        "rule": rule_fields(rule),
        "raised": sum(alert.cleared_at is None for alert in about),
        "cleared": sum(alert.cleared_at is not None for alert in about),
        "open": still,
        "at": now,
        "alerts": [alert_fields(alert, *uids[alert.subject]) for alert in worst],
    }
    app_ids = list(dict.fromkeys(alert.subject.app_id for alert in worst))
    await operational.note(
        link,
        environment_id=rule.environment_id,
        app_id=None,
        kind=kind,
        data=data,
        key=rule.id,
        app_ids=app_ids,
    )


async def names(
    link: Link, subjects: Sequence[Subject]
) -> dict[Subject, tuple[str | None, str | None]]:
    """Give the uids of apps and endpoints."""
    rows = await link.fetch(_SQL["names"], *_columns(subjects))
    return {
        Subject(row["app_id"], row["endpoint_id"]): (row["app_uid"], row["endpoint_uid"])
        for row in rows
    }


def _columns(subjects: Sequence[Subject]) -> tuple[list[str], list[str]]:
    return [s.app_id for s in subjects], [s.endpoint_id for s in subjects]
