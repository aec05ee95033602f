"""Attempts exported to an environment's collector, by OTLP: where to, and when again. Pure.

Source: the OpenTelemetry protocol, OTLP/HTTP (opentelemetry.io/docs/specs/otlp).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schema.address import AddressPolicy, EndpointUrl, check_url

ENABLED: Final = "enableOtlp"  # the setting of an environment; `otel_wanted` reads it too
TRACES: Final = "/v1/traces"
ASK: Final = "ask.otel"  # on NATS: have a dispatcher send a span now
ASK_S: Final = 10.0  # that it may take
FIRST_WAIT_S: Final = 5.0
LONGEST_WAIT_S: Final = 300.0
_DOUBLED: Final = 6  # times, which is past the longest


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Where an environment's attempts are exported to; `headers` are sealed."""

    environment_id: str
    url: str
    headers: bytes | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """An attempt, as it is exported. `status` and `fault` are the outcome's."""

    environment_id: str
    app_id: str
    app_uid: str | None
    endpoint_id: str
    message_id: str
    event_id: str | None
    attempt_id: str
    event_type: str
    number: int
    delivered: bool
    url: str
    status: int | None
    fault: str | None
    detail: str
    started_at: datetime
    duration_ms: int
    phases_ms: tuple[float, ...]


def target(text: str, policy: AddressPolicy) -> EndpointUrl:
    """Judge a collector's URL and say where traces go: below it, unless it has a path of its own.

    Raises:
        UrlFault: It cannot be one.
    """
    url = check_url(text, policy)
    if url.target != b"/":
        return url
    return check_url(url.text.rstrip("/") + TRACES, policy)


def headers_context(environment_id: str) -> bytes:
    """Give what sealed headers are bound to, so that a row cannot be moved."""
    return f"otel/{environment_id}".encode()


def wait_s(failures: int, *, dice: float, retry_after_s: float | None) -> float:
    """Say how long a collector is left alone.

    Args:
        failures: In a row; at least 1.
        dice: Uniform in [0, 1); lengthens by up to a tenth.
        retry_after_s: What it asked for, which lengthens too, but not past the longest wait.
    """
    grown = FIRST_WAIT_S * 2.0 ** min(failures - 1, _DOUBLED)
    wanted = max(grown * (1 + dice / 10), retry_after_s or 0.0)
    return min(wanted, LONGEST_WAIT_S)
