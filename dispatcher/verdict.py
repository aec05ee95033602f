"""What an outcome means for its delivery. Pure: brings no clock and no dice."""

from datetime import datetime
from typing import Final

from schema.delivery import Cancel, Delivered, Fault, Outcome, Park, Reason, Verdict
from schema.delivery import Retry as Again
from schema.retry import RetryPolicy, due_again

GONE: Final = 410
TOO_MANY: Final = 429
SERVER_FAULTS: Final = 500  # and above
THROTTLED: Final = frozenset({429, 502, 503, 504})
OURS: Final = frozenset({Fault.INTERNAL, Fault.PROXY})  # faults of this side
STRUGGLES: Final = frozenset(
    {Fault.TIMEOUT, Fault.CONNECT, Fault.CONNECT_REFUSED, Fault.RESET, Fault.OAUTH}
)


def decide(
    outcome: Outcome,
    *,
    policy: RetryPolicy,
    failures: int,
    now: datetime,
    dice: float,
    jitter: float,
) -> Verdict:
    """Say what becomes of a delivery.

    Args:
        outcome: What the attempt came to.
        policy: The waits that apply.
        failures: Failed attempts of this run before this one.
        now: When the attempt ended.
        dice: Uniform in [0, 1).
        jitter: The largest part by which a wait grows.
    """
    if outcome.succeeded:
        return Delivered()
    if outcome.cancelled:
        return Cancel(reason=Reason.TRANSFORMATION)
    if outcome.status == GONE:
        return Park(reason=Reason.GONE, disable=True)
    if outcome.control == "disable":
        return Park(reason=Reason.ABORTED, disable=True)
    if outcome.control == "abort-message":
        return Park(reason=Reason.ABORTED)
    due_at = due_again(
        policy,
        failures=failures + 1,
        now=now,
        dice=dice,
        jitter=jitter,
        retry_after_s=outcome.retry_after_s,
    )
    return Park(reason=Reason.EXHAUSTED) if due_at is None else Again(due_at=due_at)


def decide_test(outcome: Outcome) -> Verdict:
    """Say what becomes of a delivery that is tried once: none is parked, or tried again."""
    if outcome.succeeded:
        return Delivered()
    if outcome.cancelled:
        return Cancel(reason=Reason.TRANSFORMATION)
    disable = None
    if outcome.status == GONE:
        disable = Reason.GONE
    elif outcome.control == "disable":
        disable = Reason.ABORTED
    return Cancel(reason=Reason.TEST_FAILED, disable=disable)


def is_of_code(outcome: Outcome) -> bool:
    """Tell whether the endpoint's own code ended it: of the receiver it says nothing at all."""
    return outcome.cancelled or outcome.fault is Fault.TRANSFORMATION


def struggles(outcome: Outcome) -> bool:
    """Tell whether an endpoint had better get fewer at a time."""
    return outcome.fault in STRUGGLES or outcome.status in THROTTLED


def speaks_of_endpoint(outcome: Outcome) -> bool:
    """Tell whether a failure is the endpoint's: it would have met any other message as well."""
    status = outcome.status
    if status is None:
        return outcome.fault not in OURS
    return status >= SERVER_FAULTS or status == TOO_MANY
