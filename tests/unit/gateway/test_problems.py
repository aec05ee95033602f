"""Errors as answers: every error has a status, and the SDKs' two envelopes."""

import json

import pytest

from gateway.bulk import BulkTooLarge
from gateway.limits import BacklogFull, RateLimited
from gateway.problems import STATUS, respond, status_of
from schema import errors
from schema.errors import FieldFault, HooklineError


def everything(kind: type[HooklineError]) -> list[type[HooklineError]]:
    return [kind, *(deep for sub in kind.__subclasses__() for deep in everything(sub))]


EXAMPLES: dict[HooklineError, tuple[int, str]] = {
    errors.RequestFault("?"): (400, "generic_error"),
    errors.BadState("?", code="invalid_range"): (400, "invalid_range"),
    errors.Unauthenticated(): (401, "authentication_failed"),
    errors.Forbidden(): (403, "insufficient access"),
    errors.NotFound("Application"): (404, "not_found"),
    errors.Conflict(): (409, "conflict"),
    errors.TooLarge(10): (413, "payload_too_large"),
    errors.Overload("full"): (503, "overload"),
    RateLimited("fast", 1.0, {}): (429, "rate_limited"),
    BacklogFull("much", 5.0, {}): (429, "backlog_full"),
    BulkTooLarge(10): (413, "bulk_too_large"),
    errors.Unavailable("Postgres"): (503, "unavailable"),
    errors.SettingsFault(["x"]): (500, "server_error"),
}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_has_its_status_and_code(error: HooklineError) -> None:
    answered = respond(error)

    status, code = EXAMPLES[error]
    said = json.loads(answered.body)
    assert answered.status_code == status
    assert said["code"] == code
    assert isinstance(said["detail"], str)


def test_every_kind_of_error_of_ours_has_a_status() -> None:
    for kind in everything(HooklineError):
        assert any(base in STATUS for base in kind.__mro__)


def test_validation_is_a_list_of_faults() -> None:
    fault = FieldFault(loc=("body", "name"), msg="is required", type="value_error.missing")

    answered = respond(errors.Invalid([fault]))

    assert answered.status_code == 422
    assert json.loads(answered.body) == {
        "detail": [{"loc": ["body", "name"], "msg": "is required", "type": "value_error.missing"}]
    }


@pytest.mark.parametrize(
    ("error", "seconds"),
    [(errors.Overload("full", 2.2), "3"), (errors.Unavailable("NATS", 1.0), "1")],
)
def test_what_may_be_tried_again_says_when(error: HooklineError, seconds: str) -> None:
    assert respond(error).headers["retry-after"] == seconds


def test_an_unexpected_error_of_ours_tells_the_caller_nothing() -> None:
    answered = respond(HooklineError("a secret"))

    assert status_of(HooklineError("a secret")) == 500
    assert b"secret" not in answered.body
