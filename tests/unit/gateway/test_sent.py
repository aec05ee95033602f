"""The headers of an attempt, told from what is kept of it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.sent import answered, sent
from schema.delivery import Fault, Trigger
from schema.message import Message
from schema.store.attempt import Attempt

AT = datetime(2026, 1, 2, 3, 4, 5, 900_000, tzinfo=UTC)
MESSAGE = Message(
    app_id="app_1",
    id="msg_1",
    event_type="a.b",
    event_id=None,
    channels=None,
    tags=None,
    payload=b"<a/>",
    content_type="application/xml",
    created_at=AT,
)
ATTEMPT = Attempt(
    app_id="app_1",
    id="atmpt_1",
    message_id="msg_1",
    endpoint_id="ep_1",
    event_type="a.b",
    number=1,
    trigger=Trigger.SCHEDULED,
    verdict="retry",
    url="https://hooks.example.com:8443/in?a=b",
    status=500,
    fault=None,
    detail="",
    started_at=AT,
    duration_ms=12,
    next_attempt_at=None,
    phases_ms=(),
    address=None,
    reused=False,
    tls=None,
    response=None,
    response_headers=None,
    truncated=False,
    expunged_at=None,
)
SECOND = int(AT.timestamp())


def test_what_is_told_are_the_fixed_headers_the_messages_and_the_endpoints_own() -> None:
    shown, hidden = sent(ATTEMPT, MESSAGE, {"X-A": "b", "X-Api-Key": "k"}, svix_headers=False)

    assert shown == {
        "host": "hooks.example.com:8443",
        "user-agent": "Hookline/0.1",
        "accept": "*/*",
        "accept-encoding": "identity",
        "content-type": "application/xml",
        "content-length": "4",
        "webhook-id": "msg_1",
        "webhook-timestamp": str(SECOND),
        "x-a": "b",
    }
    assert hidden == ["x-api-key", "webhook-signature"]


def test_svixs_names_are_told_where_they_are_sent() -> None:
    shown, hidden = sent(ATTEMPT, MESSAGE, {}, svix_headers=True)

    assert (shown["svix-id"], shown["svix-timestamp"]) == ("msg_1", str(SECOND))
    assert hidden == ["webhook-signature", "svix-signature"]


def test_it_was_signed_when_its_name_had_been_resolved() -> None:
    shown, _ = sent(replace(ATTEMPT, phases_ms=(150.0, 1.0)), MESSAGE, {}, svix_headers=False)

    assert shown["webhook-timestamp"] == str(SECOND + 1)


def test_an_expunged_payload_has_no_length() -> None:
    shown, _ = sent(ATTEMPT, replace(MESSAGE, payload=None), {}, svix_headers=False)

    assert "content-length" not in shown


def test_what_the_transport_writes_itself_is_not_the_endpoints() -> None:
    shown, _ = sent(ATTEMPT, MESSAGE, {"Accept-Encoding": "gzip"}, svix_headers=False)

    assert shown["accept-encoding"] == "identity"


@pytest.mark.parametrize("fault", [Fault.DNS, Fault.BLOCKED, Fault.CONNECT_REFUSED, Fault.TLS])
def test_an_attempt_without_a_connection_sent_nothing(fault: Fault) -> None:
    unanswered = replace(ATTEMPT, status=None, fault=fault)

    assert sent(unanswered, MESSAGE, {"X-A": "b"}, svix_headers=False) == ({}, [])


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.NO_RESPONSE, Fault.TIMEOUT])
def test_an_attempt_that_may_have_been_sent_is_told(fault: Fault) -> None:
    unanswered = replace(ATTEMPT, status=None, fault=fault)

    shown, _ = sent(unanswered, MESSAGE, {"X-A": "b"}, svix_headers=False)

    assert shown["x-a"] == "b"


def test_headers_of_an_answer_are_pairs_or_none() -> None:
    assert answered([["x-a", "b"], ["x-a", "c"]]) == [("x-a", "b"), ("x-a", "c")]
    assert answered({"x-a": "b", "server": "c"}) == [("x-a", "b"), ("server", "c")]  # of before
    assert answered(None) is None
