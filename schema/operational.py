"""Operational events: which there are, and whose endpoints hear of them. Pure.

They are told to the endpoints of an environment's operational app, an app like any other but that
nobody finds it. Types and payloads are Svix's where Svix has them.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from schema import ids

_FRESH: Final = timedelta(hours=12)  # half of what the intake takes for plausible


class Kind(StrEnum):
    """The event types; a receiver filters by them."""

    ENDPOINT_CREATED = "endpoint.created"
    ENDPOINT_UPDATED = "endpoint.updated"
    ENDPOINT_DELETED = "endpoint.deleted"
    ENDPOINT_ENABLED = "endpoint.enabled"
    ENDPOINT_DISABLED = "endpoint.disabled"
    ENDPOINT_FAILING = "endpoint.failing"
    ENDPOINT_RECOVERED = "endpoint.recovered"
    ENDPOINT_DISABLING = "endpoint.disabling"
    ATTEMPT_FAILING = "message.attempt.failing"
    ATTEMPT_EXHAUSTED = "message.attempt.exhausted"
    ATTEMPT_RECOVERED = "message.attempt.recovered"
    ATTEMPT_LOG = "message.attempt.log"
    TASK_FINISHED = "background_task.finished"
    GROUP_OPENED = "dead_letter.group_opened"
    ALERT_RAISED = "alert.raised"
    ALERT_UPDATED = "alert.updated"
    ALERT_CLEARED = "alert.cleared"
    DIGEST = "alert.digest"


# What an endpoint hears of that names no kinds. The log would be a flood: it has to be named.
UNNAMED: Final = frozenset(Kind) - {Kind.ATTEMPT_LOG}
FAILING_AFTER: Final = 4  # failures of a run; as many must there be to recover from


def app_of(environment_id: str) -> str:
    """Give the id of an environment's operational app, whether it is there yet or not."""
    source = f"operational:{environment_id}".encode()
    return ids.derived_id(ids.APP, ids.time_of(environment_id), source)


def message_of(environment_id: str, number: int, at: datetime) -> str:
    """Give the id of the message that an event becomes, however often it is published."""
    source = f"operational:{environment_id}:{number}".encode()
    return ids.derived_id(ids.MESSAGE, at, source)


def is_fresh(at: datetime, now: datetime) -> bool:
    """Tell whether the intake takes an id of the time `at` for one that was just made."""
    return abs(now - at) < _FRESH
