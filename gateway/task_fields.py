"""What a request asks a task to do, read from its body with all faults at once.

On dead letters (`gateway.routes.task`):

    letterIds       these alone, in the place of the query's filter
    dryRun          say what would be done, and do nothing
    jobId           the caller's own name: asking twice makes one task
    startAt         not before this time
    order           oldest (the default) or newest first, within each endpoint
    reason          goes into the audit trail; to discard and purge it must be there
    confirm         true, to purge

and to redeliver them also `rate` (a second, all endpoints together), `concurrency` (at each
endpoint), `probe`, `stopPercent`, `retry` and, within an app, `toEndpointId`.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from gateway.body import Fields
from gateway.status import STATES_OF, Status
from gateway.window import is_key
from schema import event, ids
from schema.task import Plan, TaskKind

MOST_LETTERS: Final = 1_000
LONGEST_WAIT: Final = timedelta(days=366)
LONGEST_RECOVERY: Final = timedelta(days=14, minutes=5)
_MAX_REASON: Final = 500
_MAX_LENGTH: Final = 256
_MAX_RATE: Final = 100_000
_MAX_AT_ONCE: Final = 10_000
_CLASSES: Final = (0, 100, 200, 300, 400, 500)
_ORDERS: Final = ("oldest", "newest")
_LETTER: Final = re.compile(r"dl_[0-9A-Za-z]{27}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked for, before letters and endpoints are looked up.

    Attributes:
        to: The other endpoint to send to, as it was named.
        start_at: None is now.
    """

    plan: Plan
    to: str | None = None
    job_id: str | None = None
    start_at: datetime | None = None
    dry_run: bool = False


def read_wish(fields: Fields, kind: TaskKind, now: datetime, *, one_app: bool) -> Wish:
    """Read what is asked to be done with dead letters.

    Raises:
        Invalid: Fields are not as they must be.
    """
    dry_run = fields.boolean("dryRun", default=False)
    order = fields.optional_choice("order", choices=_ORDERS)
    reason = fields.optional_text("reason", max_length=_MAX_REASON)
    job_id = fields.optional_text(
        "jobId", min_length=1, max_length=_MAX_LENGTH, pattern=event.UID_PATTERN
    )
    letter_ids, start_at = _letter_ids(fields), _start(fields, now)
    plan = Plan(letter_ids=letter_ids, newest_first=order == "newest", reason=reason or "")
    to = None
    if kind is TaskKind.REDELIVER:
        plan = _sending(fields, plan)
        to = _to(fields, one_app=one_app)
    elif not dry_run:
        _sure(fields, kind, reason)
    fields.check()
    return Wish(plan=plan, to=to, job_id=job_id, start_at=start_at, dry_run=dry_run)


def read_span(
    fields: Fields, endpoint_id: str | None, now: datetime, *, longest: timedelta | None = None
) -> Plan:
    """Read `since` and `until` of a task on what happened in a time, as Svix has it.

    The caller checks the fields: there may be more of them.
    """
    fields.require("since")
    since, until = fields.optional_time("since"), fields.optional_time("until")
    end = until or now
    if since is not None and until is not None and since > until:
        fields.fault("since", "must not be later than until")
    if since is not None and longest is not None and end - since > longest:
        fields.fault("since", f"must not be more than {longest.days} days before until")
    if since is not None and not ids.EPOCH_S < since.timestamp() < ids.EPOCH_S + 2**32:
        fields.fault("since", "is outside of what can be told")
    return Plan(endpoint_id=endpoint_id, since=since, until=until)


def read_messages(fields: Fields) -> dict[str, object]:
    """Read which messages are to be replayed: those fields of a plan, as Svix has them."""
    class_of_status = _of(fields, "statusCodeClass", _CLASSES)
    status = _of(fields, "status", tuple(Status))
    states = None if status is None else STATES_OF[Status(status)]
    statuses = None
    if class_of_status is not None:
        statuses = (class_of_status, class_of_status + 99 if class_of_status else 0)
    return {
        "event_types": fields.optional_texts("eventTypes", pattern=event.EVENT_TYPE_PATTERN),
        "channel": fields.optional_text("channel", pattern=event.CHANNEL_PATTERN),
        "tag": fields.optional_text("tag", pattern=event.TAG_PATTERN),
        "statuses": statuses,
        "delivery_states": None if states is None else tuple(sorted(states)),
    }


def _letter_ids(fields: Fields) -> tuple[str, ...] | None:
    found = fields.optional_texts("letterIds", pattern=_LETTER, max_items=MOST_LETTERS)
    for ident in found or ():
        if not is_key(ids.DEAD_LETTER, ident):
            fields.fault("letterIds", f"{ident} is no id of a letter")
    return found


def _sending(fields: Fields, plan: Plan) -> Plan:
    return Plan(
        letter_ids=plan.letter_ids,
        newest_first=plan.newest_first,
        reason=plan.reason,
        rate_per_s=fields.optional_number("rate", minimum=0.01, maximum=_MAX_RATE),
        concurrency=fields.optional_integer("concurrency", minimum=1, maximum=_MAX_AT_ONCE),
        probe=fields.optional_integer("probe", minimum=1, maximum=_MAX_AT_ONCE),
        stop_percent=fields.optional_number("stopPercent", minimum=0, maximum=100),
        retry=fields.boolean("retry", default=True),
    )


def _to(fields: Fields, *, one_app: bool) -> str | None:
    to = fields.optional_text("toEndpointId", max_length=_MAX_LENGTH, pattern=event.UID_PATTERN)
    if to is not None and not one_app:
        fields.fault("toEndpointId", "goes within an app only")
    return to


def _sure(fields: Fields, kind: TaskKind, reason: str | None) -> None:
    """See that whoever gives letters up says why, and means it."""
    if not reason:
        fields.fault("reason", "is required", fault_type="value_error.missing")
    if kind is TaskKind.PURGE and not fields.boolean("confirm", default=False):
        fields.fault("confirm", "must be true: what is purged is gone for good")


def _start(fields: Fields, now: datetime) -> datetime | None:
    at = fields.optional_time("startAt")
    if at is not None and at > now + LONGEST_WAIT:
        fields.fault("startAt", f"must be within {LONGEST_WAIT.days} days")
    return at


def _of(fields: Fields, name: str, choices: Collection[int]) -> int | None:
    found = fields.optional_integer(name, minimum=min(choices), maximum=max(choices))
    if found is not None and found not in choices:
        fields.fault(name, f"must be {' or '.join(str(int(choice)) for choice in choices)}")
        return None
    return found
