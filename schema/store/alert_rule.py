"""Alert rules."""

import asyncpg

from schema.alert import Alert, AlertRule, Measure, Subject
from schema.store import statements
from schema.store.link import Link

_SQL = statements.load("alert_rule")


async def find(link: Link, environment_id: str, rule_id: str) -> AlertRule | None:
    """Find a rule."""
    row = await link.fetchrow(_SQL["by_id"], environment_id, rule_id)
    return None if row is None else read_rule(row)


async def lock(link: Link, environment_id: str, rule_id: str) -> AlertRule | None:
    """Find a rule and keep others from changing it until the transaction ends."""
    row = await link.fetchrow(_SQL["lock"], environment_id, rule_id)
    return None if row is None else read_rule(row)


async def page(
    link: Link, environment_id: str, *, bound: str, up: bool, limit: int
) -> list[AlertRule]:
    """Give up to `limit` rules beyond a key, in the direction of the scan."""
    name = "page_up" if up else "page_down"
    return [read_rule(row) for row in await link.fetch(_SQL[name], environment_id, bound, limit)]


async def count(link: Link, environment_id: str) -> int:
    """Say how many rules an environment has."""
    return int(await link.fetchval(_SQL["count"], environment_id))


async def insert(link: Link, rule: AlertRule) -> None:
    """Write a new rule."""
    await link.execute(_SQL["insert"], *_stored(rule), rule.created_at, rule.updated_at)


async def update(link: Link, rule: AlertRule) -> None:
    """Write all that may change."""
    await link.execute(_SQL["update"], *_stored(rule), rule.updated_at)


async def delete(link: Link, rule: AlertRule) -> None:
    """Delete a rule and forget for whom it was raised."""
    await link.execute(_SQL["delete"], rule.environment_id, rule.id)


async def alerts(link: Link, rule: AlertRule, most: int) -> list[Alert]:
    """Give for whom a rule is raised."""
    rows = await link.fetch(_SQL["alerts"], rule.environment_id, rule.id, most)
    return [read_alert(row) for row in rows]


async def raised(link: Link) -> int:
    """Say how many rules are raised."""
    return int(await link.fetchval(_SQL["raised"]))


def read_rule(row: asyncpg.Record) -> AlertRule:
    """Make a rule of a row."""
    return AlertRule(
        environment_id=row["environment_id"],
        id=row["id"],
        name=row["name"],
        measure=Measure(row["kind"]),
        threshold=row["threshold"],
        clear_below=row["clear_below"],
        window_s=row["window_s"],
        least_attempts=row["least_attempts"],
        app_ids=None if row["app_ids"] is None else tuple(row["app_ids"]),
        enabled=row["enabled"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        raised_at=row["raised_at"],
        told_at=row["told_at"],
    )


def read_alert(row: asyncpg.Record) -> Alert:
    """Make an alert of a row."""
    return Alert(
        subject=Subject(row["app_id"], row["endpoint_id"]),
        value=row["value"],
        raised_at=row["raised_at"],
        cleared_at=row["cleared_at"],
        told=row["told"],
    )


def _stored(rule: AlertRule) -> tuple[object, ...]:
    """Give the columns from environment_id to enabled."""
    return (
        rule.environment_id,
        rule.id,
        rule.name,
        rule.measure,
        rule.threshold,
        rule.clear_below,
        rule.window_s,
        rule.least_attempts,
        rule.app_ids,
        rule.enabled,
    )
