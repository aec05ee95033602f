"""Attempts as spans of OpenTelemetry, and what a collector says of them. Pure.

Names and attributes are Svix's: `message_attempt`, and inside of it `http_attempt`. What is
exported twice is the same span twice: its ids follow from the attempt's. The numbers of fields are
those of OTLP's messages (opentelemetry-proto, trace/v1 and common/v1).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import IntEnum
from functools import lru_cache
from hashlib import sha256
from typing import Final, NamedTuple

from dispatcher.protobuf import Malformed, block, fields, fixed64, number
from schema.otel import Tried

MEDIA: Final = "application/x-protobuf"
NAME: Final = "hookline"
SPANS: Final = 2  # of an attempt
_TRACE: Final = slice(0, 16)  # of the hash of an attempt's id
_OUTER: Final = slice(16, 24)
_INNER: Final = slice(24, 32)
_DIALLING: Final = 3  # phases before a request is sent: name, connection, TLS
_MOST_PAIRS: Final = 4_096  # that are kept: apps, endpoints and types come again
_INTERNAL: Final = 1  # kinds of spans
_CLIENT: Final = 3
_OK: Final = 1  # codes of how they ended
_ERROR: Final = 2
_US: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class _Field(IntEnum):
    """Fields of a span."""

    TRACE_ID = 1
    SPAN_ID = 2
    PARENT_SPAN_ID = 4
    NAME = 5
    KIND = 6
    START = 7
    END = 8
    ATTRIBUTE = 9
    STATUS = 15


class Partly(NamedTuple):
    """What a collector did not take of what it took."""

    rejected: int
    why: str


def encode(attempts: Iterable[Tried]) -> bytes:
    """Write a request that exports attempts, two spans each."""
    return _request(b"".join([_spans(tried) for tried in attempts]))


def sample(environment_id: str, at: datetime, ident: bytes) -> bytes:
    """Write a request that exports one span, `test`, known by 24 random bytes."""
    said = _attributes({"org_id": environment_id})
    span = _span("test", (ident[_TRACE], ident[_OUTER]), (at, at), said)
    return _request(block(2, span + number(_Field.KIND, _INTERNAL)))


def read_answer(body: bytes) -> Partly:
    """Read what a collector says that took a request; what is no such answer says nothing."""
    rejected, why = 0, ""
    try:
        for name, partial in fields(body):
            if name != 1 or not isinstance(partial, bytes):
                continue
            for inner, value in fields(partial):
                if inner == 1 and isinstance(value, int):
                    rejected = value
                elif isinstance(value, bytes):
                    why = value.decode("utf-8", "replace")
    except Malformed:
        return Partly(0, "")
    return Partly(rejected, why)


def _request(spans: bytes) -> bytes:
    """Put around spans, which are fields of a scope already, what a request has there."""
    resource = block(1, block(1, _pair("service.name", NAME)))
    scope = block(1, block(1, NAME.encode()))
    return block(1, resource + block(2, scope + spans))


def _spans(tried: Tried) -> bytes:
    """Write both spans of an attempt."""
    ident = sha256(tried.attempt_id.encode()).digest()
    trace, began_at = ident[_TRACE], tried.started_at
    ended_at = _after(began_at, tried.duration_ms)
    sent_at = min(_after(began_at, sum(tried.phases_ms[:_DIALLING])), ended_at)
    said = _said(tried)
    outer = _span("message_attempt", (trace, ident[_OUTER]), (began_at, ended_at), said)
    outer += number(_Field.KIND, _INTERNAL)
    inner = _span("http_attempt", (trace, ident[_INNER]), (sent_at, ended_at), said)
    inner += (
        block(_Field.PARENT_SPAN_ID, ident[_OUTER])
        + number(_Field.KIND, _CLIENT)
        + _attributes(
            {
                "http.request.method": "POST",
                "http.response.status_code": tried.status,
                "error.type": tried.fault,
            }
        )
    )
    return block(2, outer) + block(2, inner)


def _said(tried: Tried) -> bytes:
    """Write what both spans of an attempt have: attributes, and how it ended."""
    said = {
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
    return _attributes(said) + block(_Field.STATUS, _status(tried))


def _status(tried: Tried) -> bytes:
    if tried.delivered:
        return number(3, _OK)
    why = tried.detail or (f"HTTP {tried.status}" if tried.status else tried.fault or "")
    return block(2, why.encode()) + number(3, _ERROR)


def _span(
    name: str, ids: tuple[bytes, bytes], times: tuple[datetime, datetime], said: bytes
) -> bytes:
    return (
        block(_Field.TRACE_ID, ids[0])
        + block(_Field.SPAN_ID, ids[1])
        + block(_Field.NAME, name.encode())
        + fixed64(_Field.START, _nanoseconds(times[0]))
        + fixed64(_Field.END, _nanoseconds(times[1]))
        + said
    )


def _attributes(said: Mapping[str, str | int | None]) -> bytes:
    """Write pairs of names and values; those without a value are left out."""
    return b"".join(
        [
            block(_Field.ATTRIBUTE, _pair(key, value))
            for key, value in said.items()
            if value is not None
        ]
    )


@lru_cache(_MOST_PAIRS)
def _pair(key: str, value: str | int) -> bytes:
    return block(1, key.encode()) + block(2, _value(value))


def _value(value: str | int) -> bytes:
    return number(3, value) if isinstance(value, int) else block(1, value.encode())


def _after(at: datetime, ms: float) -> datetime:
    return at + timedelta(milliseconds=ms)


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // _US * 1000
