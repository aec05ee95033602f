"""What is written of an attempt and its delivery, once it is decided. Pure: brings no clock."""

from datetime import datetime
from typing import Final

from dispatcher.lane import Owed
from dispatcher.match import Target
from schema import ids
from schema.delivery import (
    Cancel,
    Delivered,
    Outcome,
    Park,
    Reason,
    Retry,
    State,
    Trigger,
    Verdict,
)
from schema.retry import MAX_ATTEMPTS
from schema.store.settle import AttemptRow, Settlement

DELIVERED: Final = Delivered()
FIRST: Final = (0, MAX_ATTEMPTS)  # failures of a run that has had no attempt; the latter gets one


def decided(
    owed: Owed, target: Target, outcome: Outcome, started_at: datetime, verdict: Verdict
) -> Settlement:
    """Say where a delivery stands after an attempt, and what the log tells of it."""
    if outcome.cancelled:
        return _called_off(owed)
    word, state, reason, due_at = _stands(verdict, was_delivered=owed.was_delivered)
    failures = owed.failures if verdict is DELIVERED else owed.failures + 1
    return Settlement(
        app_id=owed.lane.app.app_id,
        message_id=owed.message_id,
        endpoint_id=owed.lane.endpoint_id,
        state=state,
        attempts=owed.attempts + 1,
        failures=failures,
        run=owed.run,
        due_at=due_at,
        reason=reason,
        disable=_disables(verdict),
        attempt=AttemptRow(
            id=ids.new_id(ids.ATTEMPT, started_at),
            event_type=owed.event_type,
            trigger=_trigger(owed),
            verdict=word,
            url=outcome.url or target.url_text,
            started_at=started_at,
            outcome=outcome,
        ),
    )


def _called_off(owed: Owed) -> Settlement:
    """Say where a delivery stands of which nothing was sent: there was no attempt to log."""
    return Settlement(
        app_id=owed.lane.app.app_id,
        message_id=owed.message_id,
        endpoint_id=owed.lane.endpoint_id,
        state=State.DELIVERED if owed.was_delivered else State.CANCELLED,
        attempts=owed.attempts,
        failures=owed.failures,
        run=owed.run,
        reason=None if owed.was_delivered else Reason.TRANSFORMATION,
    )


def given_up(owed: Owed) -> Settlement:
    """Say where a delivery stands that is parked without an attempt; a test is called off."""
    state = State.CANCELLED if owed.once else State.DEAD
    return Settlement(
        app_id=owed.lane.app.app_id,
        message_id=owed.message_id,
        endpoint_id=owed.lane.endpoint_id,
        state=State.DELIVERED if owed.was_delivered else state,
        attempts=owed.attempts,
        failures=owed.failures,
        run=owed.run,
        reason=None if owed.was_delivered else owed.reason or Reason.ENDPOINT_DELETED,
    )


def _trigger(owed: Owed) -> Trigger:
    """Say what started an attempt: somebody, if it is the first of a run that was asked for."""
    first_of_run = owed.run > 0 and owed.failures in FIRST
    return Trigger.MANUAL if owed.manual or first_of_run else Trigger.SCHEDULED


def _stands(
    verdict: Verdict, *, was_delivered: bool
) -> tuple[str, State, Reason | None, datetime | None]:
    """Say what a verdict is called in the log, and where its delivery stands from now on.

    What had been delivered before and was sent again by hand stays delivered, whatever came of it.
    """
    if isinstance(verdict, Delivered):
        return "delivered", State.DELIVERED, None, None
    if was_delivered:
        return "failed", State.DELIVERED, None, None
    if isinstance(verdict, Retry):
        return "retry", State.RETRYING, None, verdict.due_at
    if isinstance(verdict, Cancel):
        return "failed", State.CANCELLED, verdict.reason, None
    return "park", State.DEAD, verdict.reason, None


def _disables(verdict: Verdict) -> Reason | None:
    """Say why the endpoint is disabled as well, if it is."""
    if isinstance(verdict, Park):
        return verdict.reason if verdict.disable else None
    return verdict.disable if isinstance(verdict, Cancel) else None
