"""What becomes of a delivery, for everything that an attempt can come to."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.verdict import decide, struggles
from schema.delivery import Cancel, Delivered, Fault, Outcome, Park, Reason, Retry, Verdict
from schema.retry import RetryPolicy

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
POLICY = RetryPolicy(waits_s=(10.0, 100.0))
GONE = Park(reason=Reason.GONE, disable=True)
DISABLE = Park(reason=Reason.ABORTED, disable=True)
ABORT = Park(reason=Reason.ABORTED)
EXHAUSTED = Park(reason=Reason.EXHAUSTED)


def decided(outcome: Outcome, *, failures: int = 0, dice: float = 0.0) -> Verdict:
    return decide(outcome, policy=POLICY, failures=failures, now=NOW, dice=dice, jitter=0.1)


def again(seconds: float) -> Retry:
    return Retry(due_at=NOW + timedelta(seconds=seconds))


TABLE = [
    pytest.param(Outcome(status=200), Delivered(), id="200"),
    pytest.param(Outcome(status=204), Delivered(), id="204"),
    pytest.param(Outcome(status=299), Delivered(), id="299"),
    pytest.param(Outcome(status=200, control="disable"), Delivered(), id="2xx-wins-over-control"),
    pytest.param(Outcome(status=301), again(10), id="a-redirect-is-not-followed"),
    pytest.param(Outcome(status=307), again(10), id="307"),
    pytest.param(Outcome(status=400), again(10), id="400"),
    pytest.param(Outcome(status=404), again(10), id="404"),
    pytest.param(Outcome(status=500), again(10), id="500"),
    pytest.param(Outcome(status=410), GONE, id="410"),
    pytest.param(Outcome(status=410, retry_after_s=5), GONE, id="410-whatever-it-asks-for"),
    pytest.param(Outcome(status=410, control="abort-message"), GONE, id="410-and-abort"),
    pytest.param(Outcome(status=429), again(10), id="429"),
    pytest.param(Outcome(status=429, retry_after_s=60), again(60), id="429-asks-for-more"),
    pytest.param(Outcome(status=429, retry_after_s=1), again(10), id="429-asks-for-less"),
    pytest.param(Outcome(status=429, retry_after_s=1e9), again(86_400), id="429-asks-for-years"),
    pytest.param(Outcome(status=503, retry_after_s=60), again(60), id="503-asks-for-more"),
    pytest.param(Outcome(status=500, control="abort-message"), ABORT, id="abort-message"),
    pytest.param(Outcome(status=500, control="disable"), DISABLE, id="disable"),
    pytest.param(Outcome(status=500, control="dance"), again(10), id="unknown-control"),
    pytest.param(
        Outcome(status=429, control="abort-message", retry_after_s=60), ABORT, id="abort-and-429"
    ),
]


@pytest.mark.parametrize(("outcome", "verdict"), TABLE)
def test_an_answer_decides_what_becomes_of_the_delivery(outcome: Outcome, verdict: Verdict) -> None:
    assert decided(outcome) == verdict


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_is_tried_again_whichever_it_is(fault: Fault) -> None:
    assert decided(Outcome(fault=fault)) == again(10)


@pytest.mark.parametrize(
    ("failures", "verdict"),
    [(0, again(10)), (1, again(100)), (2, EXHAUSTED), (3, EXHAUSTED), (1_000, EXHAUSTED)],
)
def test_the_schedule_is_walked_by_the_failures_of_the_run(failures: int, verdict: Verdict) -> None:
    assert decided(Outcome(status=500), failures=failures) == verdict
    assert decided(Outcome(fault=Fault.TIMEOUT), failures=failures) == verdict


def test_a_retry_after_does_not_prolong_an_exhausted_schedule() -> None:
    assert decided(Outcome(status=429, retry_after_s=60), failures=2) == EXHAUSTED


def test_the_last_attempt_may_still_succeed() -> None:
    assert decided(Outcome(status=200), failures=2) == Delivered()


def test_the_dice_lengthen_the_wait_by_their_part_of_the_jitter() -> None:
    assert decided(Outcome(status=500), dice=0.5) == again(10.5)


statuses = st.integers(100, 599).map(lambda status: Outcome(status=status))
faults = st.sampled_from(Fault).map(lambda fault: Outcome(fault=fault))


@given(statuses | faults, st.integers(0, 100))
def test_only_a_2xx_is_delivered_and_only_410_disables_unasked(
    outcome: Outcome, failures: int
) -> None:
    verdict = decided(outcome, failures=failures)

    assert isinstance(verdict, Delivered) == (outcome.status in range(200, 300))
    assert (isinstance(verdict, Park) and verdict.disable) == (outcome.status == 410)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_an_endpoint_that_says_it_has_too_much_struggles(status: int) -> None:
    assert struggles(Outcome(status=status))


@pytest.mark.parametrize("status", [200, 301, 400, 404, 410, 500, 501])
def test_an_endpoint_that_answers_does_not_struggle(status: int) -> None:
    assert not struggles(Outcome(status=status))


@pytest.mark.parametrize("fault", Fault)
def test_an_endpoint_that_cannot_keep_up_with_connections_struggles(fault: Fault) -> None:
    too_much = {Fault.TIMEOUT, Fault.CONNECT, Fault.CONNECT_REFUSED, Fault.RESET, Fault.OAUTH}

    assert struggles(Outcome(fault=fault)) == (fault in too_much)


def test_what_code_calls_off_is_cancelled_whatever_is_left_of_the_schedule() -> None:
    for failures in (0, 99):
        verdict = decided(Outcome(cancelled=True), failures=failures)

        assert verdict == Cancel(reason=Reason.TRANSFORMATION)
