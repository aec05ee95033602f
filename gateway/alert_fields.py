"""The fields of an alert rule in a request's body: of all of one, or of a change."""

from dataclasses import replace
from typing import Final

from gateway.body import Fields
from gateway.parts import Parts
from schema import ids
from schema.alert import MAX_WINDOW_S, MIN_WINDOW_S, AlertRule, Measure
from schema.event import UID_PATTERN

MAX_NAME: Final = 200
MAX_APPS: Final = 100
_MAX_THRESHOLD: Final = 2**31 - 1
_MAX_PERCENT: Final = 100
_KINDS: Final = frozenset(Measure)


def blank(given: Parts, environment_id: str) -> AlertRule:
    """Give what a new rule is, but for what its body must say."""
    now = given.clock()
    return AlertRule(
        environment_id=environment_id,
        id=ids.new_id(ids.ALERT_RULE, now),
        name="",
        measure=Measure.PARKED_COUNT,
        threshold=0,
        clear_below=0,
        window_s=300,
        least_attempts=20,
        app_ids=None,
        enabled=True,
        created_at=now,
        updated_at=now,
    )


async def read_rule(given: Parts, onto: AlertRule, fields: Fields, *, whole: bool) -> AlertRule:
    """Read a rule in the place of another, or a change to it.

    Args:
        given: The gateway's parts.
        onto: What the fields are read onto.
        fields: The body.
        whole: Whether what is absent becomes what it is in a new rule; else it stays.

    Raises:
        Invalid: A field is not as it must be.
        NotFound: It names an app that is not there.
    """
    base = onto
    if whole:
        new = blank(given, onto.environment_id)
        base = replace(new, id=onto.id, created_at=onto.created_at, raised_at=onto.raised_at)
    rule = _read_limits(base, fields, whole=whole)
    if whole or fields.has("name"):
        rule = replace(rule, name=fields.text("name", min_length=1, max_length=MAX_NAME))
    enabled = fields.boolean("enabled", default=base.enabled)
    refs = fields.optional_texts("apps", pattern=UID_PATTERN, max_items=MAX_APPS)
    fields.check()
    if fields.has("apps"):
        rule = replace(rule, app_ids=await _app_ids(given, rule.environment_id, refs))
    return replace(rule, enabled=enabled, updated_at=given.clock())


def _read_limits(base: AlertRule, fields: Fields, *, whole: bool) -> AlertRule:
    kind = fields.text("kind", default=None if whole else base.measure)
    if kind and kind not in _KINDS:
        fields.fault("kind", f"must be {' or '.join(Measure)}")
    most = _MAX_PERCENT if kind == Measure.FAILURE_PERCENT else _MAX_THRESHOLD
    if whole:
        fields.require("threshold")
    threshold = _whole(fields, "threshold", base.threshold, 1, most)
    clear_below = _whole(fields, "clearBelow", base.clear_below, 1, max(1, threshold))
    if fields.raw("clearBelow") is None and not 0 < clear_below <= threshold:
        clear_below = max(1, threshold * 4 // 5)
    return replace(
        base,
        measure=Measure(kind) if kind in _KINDS else base.measure,
        threshold=threshold,
        clear_below=clear_below,
        window_s=_whole(fields, "windowSeconds", base.window_s, MIN_WINDOW_S, MAX_WINDOW_S),
        least_attempts=_whole(fields, "leastAttempts", base.least_attempts, 1, _MAX_THRESHOLD),
    )


def _whole(fields: Fields, name: str, default: int, minimum: int, maximum: int) -> int:
    read = fields.optional_integer(name, minimum=minimum, maximum=maximum)
    return default if read is None else read


async def _app_ids(
    given: Parts, environment_id: str, refs: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if refs is None:
        return None
    return tuple([(await given.apps.find(environment_id, ref)).id for ref in refs])
