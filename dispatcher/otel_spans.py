"""Attempts as spans of OpenTelemetry, and what a collector says of them. Pure.

Names and attributes are Svix's: `message_attempt`, and inside of it `http_attempt`. What is
exported twice is the same span twice: its ids follow from the attempt's. Messages are
opentelemetry-proto's; attributes that come again are made once and copied, as making them would be
most of the cost.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from schema.otel import Tried

MEDIA: Final = "application/x-protobuf"
NAME: Final = "hookline"
SPANS: Final = 2  # of an attempt
_TRACE: Final = slice(0, 16)  # of the hash of an attempt's id
_OUTER: Final = slice(16, 24)
_INNER: Final = slice(24, 32)
_DIALLING: Final = 3  # phases before a request is sent: name, connection, TLS
_MOST_ATTRIBUTES: Final = 4_096  # that are kept: apps, endpoints and types come again
_US: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_OK: Final = Status(code=Status.STATUS_CODE_OK)


class Partly(NamedTuple):
    """What a collector did not take of what it took."""

    rejected: int
    why: str


def encode(attempts: Iterable[Tried]) -> bytes:
    """Write a request that exports attempts, two spans each."""
    return _request(span for tried in attempts for span in _spans(tried))


def sample(environment_id: str, at: datetime, ident: bytes) -> bytes:
    """Write a request that exports one span, `test`, known by 24 random bytes."""
    moment = _nanoseconds(at)
    span = Span(
        trace_id=ident[_TRACE],
        span_id=ident[_OUTER],
        name="test",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=moment,
        end_time_unix_nano=moment,
        attributes=_attributes({"org_id": environment_id}),
    )
    return _request([span])


def read_answer(body: bytes) -> Partly:
    """Read what a collector says that took a request; what is no such answer says nothing."""
    try:
        said = ExportTraceServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Partly(0, "")
    return Partly(said.rejected_spans, said.error_message)


def _request(spans: Iterable[Span]) -> bytes:
    resource = Resource(attributes=_attributes({"service.name": NAME}))
    scope = ScopeSpans(scope=InstrumentationScope(name=NAME), spans=spans)
    whole = ResourceSpans(resource=resource, scope_spans=[scope])
    return ExportTraceServiceRequest(resource_spans=[whole]).SerializeToString()


def _spans(tried: Tried) -> tuple[Span, Span]:
    """Make both spans of an attempt."""
    ident = sha256(tried.attempt_id.encode()).digest()
    ended_at = _after(tried.started_at, tried.duration_ms)
    sent_at = min(_after(tried.started_at, sum(tried.phases_ms[:_DIALLING])), ended_at)
    said, ended, status = _said(tried), _nanoseconds(ended_at), _status(tried)
    outer = Span(
        trace_id=ident[_TRACE],
        span_id=ident[_OUTER],
        name="message_attempt",
        kind=Span.SPAN_KIND_INTERNAL,
        start_time_unix_nano=_nanoseconds(tried.started_at),
        end_time_unix_nano=ended,
        attributes=said,
        status=status,
    )
    inner = Span(
        trace_id=ident[_TRACE],
        span_id=ident[_INNER],
        parent_span_id=ident[_OUTER],
        name="http_attempt",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=_nanoseconds(sent_at),
        end_time_unix_nano=ended,
        attributes=said + _http(tried),
        status=status,
    )
    return outer, inner


def _said(tried: Tried) -> list[KeyValue]:
    """Give the attributes that both spans of an attempt have."""
    return _attributes(
        {
            "org_id": tried.environment_id,
            "app_id": tried.app_id,
            "app_uid": tried.app_uid,
            "endpoint_id": tried.endpoint_id,
            "msg_id": tried.message_id,
            "msg_event_id": tried.event_id,
            "event_type": tried.event_type,
            "attempt_id": tried.attempt_id,
            "attempt_count": tried.number,
            "status": 0 if tried.delivered else 2,  # Svix's numbers for how a message stands
        }
    )


def _http(tried: Tried) -> list[KeyValue]:
    """Give the attributes of the inner span alone."""
    return _attributes(
        {
            "http.request.method": "POST",
            "http.response.status_code": tried.status,
            "error.type": tried.fault,
        }
    )


def _status(tried: Tried) -> Status:
    if tried.delivered:
        return _OK
    why = tried.detail or (f"HTTP {tried.status}" if tried.status else tried.fault or "")
    return Status(code=Status.STATUS_CODE_ERROR, message=why)


def _attributes(said: Mapping[str, str | int | None]) -> list[KeyValue]:
    """Give pairs of names and values; those without a value are left out."""
    return [_attribute(key, value) for key, value in said.items() if value is not None]


@lru_cache(_MOST_ATTRIBUTES)
def _attribute(key: str, value: str | int) -> KeyValue:
    """Make an attribute; whatever takes it copies it."""
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


def _after(at: datetime, ms: float) -> datetime:
    return at + timedelta(milliseconds=ms)


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // _US * 1000
