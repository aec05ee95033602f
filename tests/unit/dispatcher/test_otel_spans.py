"""Spans are OTLP's messages, by OTLP's own definition of them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from dispatcher.otel_spans import Partly, encode, read_answer, sample
from schema.otel import Tried

AT = datetime(2026, 5, 4, 3, 2, 1, 250_000, tzinfo=UTC)
NANOSECONDS = 1_777_863_721_250_000_000
TRIED = Tried(
    environment_id="org_1",
    app_id="app_1",
    app_uid="acme",
    endpoint_id="ep_1",
    message_id="msg_1",
    event_id="order-1",
    attempt_id="atmpt_1",
    event_type="user.created",
    number=300,
    delivered=True,
    url="https://example.com/",
    status=204,
    fault=None,
    detail="",
    started_at=AT,
    duration_ms=55,
    phases_ms=(1.0, 2.0, 3.0, 40.0, 4.0),
)


def spans_of(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    (resource,) = request.resource_spans
    (scope,) = resource.scope_spans
    assert attributes_of(resource.resource) == {"service.name": "hookline"}
    assert scope.scope.name == "hookline"
    return list(scope.spans)


def attributes_of(holder: Any) -> dict[str, str | int]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in holder.attributes}


def test_an_attempt_is_two_spans_with_the_attributes_of_svix() -> None:
    outer, inner = spans_of(encode([TRIED]))

    said = {
        "org_id": "org_1", "app_id": "app_1", "app_uid": "acme", "endpoint_id": "ep_1",
        "msg_id": "msg_1", "msg_event_id": "order-1", "event_type": "user.created",
        "attempt_id": "atmpt_1", "attempt_count": 300, "status": 0,
    }  # fmt: skip
    assert (outer.name, outer.kind, attributes_of(outer)) == (
        "message_attempt", Span.SPAN_KIND_INTERNAL, said
    )  # fmt: skip
    http = {"http.request.method": "POST", "http.response.status_code": 204}
    assert (inner.name, inner.kind, attributes_of(inner)) == (
        "http_attempt", Span.SPAN_KIND_CLIENT, said | http
    )  # fmt: skip
    assert (outer.status.code, inner.status.code) == (Status.STATUS_CODE_OK, Status.STATUS_CODE_OK)


def test_the_inner_span_is_the_outer_ones_child_and_begins_when_the_request_was_sent() -> None:
    outer, inner = spans_of(encode([TRIED]))

    assert (len(outer.trace_id), len(outer.span_id), outer.parent_span_id) == (16, 8, b"")
    assert (inner.trace_id, inner.parent_span_id) == (outer.trace_id, outer.span_id)
    assert inner.span_id not in {outer.span_id, b""}
    began, ended = outer.start_time_unix_nano, outer.end_time_unix_nano
    assert (began, ended - began) == (NANOSECONDS, 55_000_000)
    assert (inner.start_time_unix_nano - began, inner.end_time_unix_nano) == (6_000_000, ended)


def test_the_same_attempt_is_the_same_spans_and_another_is_another_trace() -> None:
    once, again, other = (
        spans_of(encode([tried]))[0]
        for tried in (TRIED, TRIED, replace(TRIED, attempt_id="atmpt_2"))
    )

    assert (once.trace_id, once.span_id) == (again.trace_id, again.span_id)
    assert once.trace_id != other.trace_id


@pytest.mark.parametrize(
    ("changes", "why", "http"),
    [
        ({"status": 503}, "HTTP 503", {"http.response.status_code": 503}),
        (
            {"status": None, "fault": "timeout", "detail": "no answer in time"},
            "no answer in time",
            {"error.type": "timeout"},
        ),
        ({"status": None, "fault": "dns"}, "dns", {"error.type": "dns"}),
    ],
)
def test_a_failure_is_an_error_that_says_why(
    changes: dict[str, Any], why: str, http: dict[str, Any]
) -> None:
    both = spans_of(encode([replace(TRIED, delivered=False, phases_ms=(), **changes)]))

    for span in both:
        assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, why)
        assert attributes_of(span)["status"] == 2
    assert attributes_of(both[1]).items() >= (http | {"http.request.method": "POST"}).items()
    assert ("http.response.status_code" in attributes_of(both[1])) is ("error.type" not in http)


def test_what_there_is_not_is_left_out() -> None:
    (outer, _) = spans_of(encode([replace(TRIED, app_uid=None, event_id=None)]))

    assert not {"app_uid", "msg_event_id"} & attributes_of(outer).keys()


@given(
    st.builds(
        replace,
        st.just(TRIED),
        number=st.integers(0, 2**31 - 1),
        duration_ms=st.integers(0, 2**31 - 1),
        event_id=st.text(max_size=300),
        detail=st.text(max_size=300),
        delivered=st.booleans(),
    )
)
def test_whatever_an_attempt_says_is_read_as_it_was(tried: Tried) -> None:
    outer, inner = spans_of(encode([tried]))

    assert attributes_of(outer)["msg_event_id"] == tried.event_id
    assert attributes_of(inner)["attempt_count"] == tried.number
    assert outer.end_time_unix_nano - NANOSECONDS == tried.duration_ms * 1_000_000


def test_a_sample_is_one_span() -> None:
    (span,) = spans_of(sample("org_1", AT, bytes(range(24))))

    assert (span.name, span.trace_id, span.span_id) == (
        "test", bytes(range(16)), bytes(range(16, 24))
    )  # fmt: skip
    assert attributes_of(span) == {"org_id": "org_1"}


def test_what_a_collector_did_not_take_is_read() -> None:
    answer = ExportTraceServiceResponse()
    assert read_answer(answer.SerializeToString()) == Partly(0, "")

    answer.partial_success.rejected_spans = 300
    answer.partial_success.error_message = "too old"

    assert read_answer(answer.SerializeToString()) == Partly(300, "too old")


@pytest.mark.parametrize("body", [b"{}", b'{"partialSuccess": {}}', b"\x0a\xff\xff", b"\xff" * 40])
def test_an_answer_that_is_no_message_says_nothing(body: bytes) -> None:
    assert read_answer(body) == Partly(0, "")


@given(st.binary(max_size=200))
def test_whatever_a_collector_answers_is_taken(body: bytes) -> None:
    rejected, why = read_answer(body)

    assert isinstance(rejected, int)
    assert len(why) <= len(body)
