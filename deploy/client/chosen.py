"""Which letters the flags of a command mean, as the parameters of the API (pure)."""

import argparse
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from deploy.faults import StartFault

_AGO: Final = re.compile(r"(\d{1,6})\s*([smhdw])\Z")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_CLASS: Final = re.compile(r"([1-5])xx\Z", re.IGNORECASE)
_NO_ANSWER: Final = "none"


def filter_of(given: argparse.Namespace, apps: Sequence[str], now: datetime) -> dict[str, Any]:
    """Give the query that a command's filters mean; without any it is empty.

    Raises:
        StartFault: A flag cannot be read.
    """
    query: dict[str, Any] = {
        "state": listed(given.state),
        "endpoint_id": listed(given.endpoint),
        "group": listed(given.group),
        "event_types": listed(given.event_type),
        "reason": listed(given.why),
        "error_class": listed(given.error_class),
        "fault": given.fault,
        "after": _ago("--after", given.after, now),
        "before": _ago("--before", given.before, now),
        "attempts_min": given.attempts_min,
        "attempts_max": given.attempts_max,
        "text": given.text,
        "payload_path": given.payload_path,
        **_status(given.status),
    }
    if len(apps) > 1:
        query["app_id"] = list(apps)
    return {name: value for name, value in query.items() if value is not None}


def listed(values: Sequence[str] | None) -> list[str] | None:
    """Read a list that is repeated, or has commas; nothing is None."""
    found = [item for value in values or () for item in value.split(",") if item]
    return found or None


def ahead(flag: str, text: str | None, now: datetime) -> str | None:
    """Read a time to come: `30m` from now, or RFC 3339.

    Raises:
        StartFault: It is neither.
    """
    return _time(flag, text, now, sign=1)


def _ago(flag: str, text: str | None, now: datetime) -> str | None:
    return _time(flag, text, now, sign=-1)


def _time(flag: str, text: str | None, now: datetime, *, sign: int) -> str | None:
    if text is None:
        return None
    try:
        if span := _AGO.match(text):
            wait = timedelta(seconds=int(span[1]) * _SECONDS[span[2]])
            at = now + sign * wait
        else:
            at = datetime.fromisoformat(text)
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise StartFault(
            f"{flag} must be a time such as 2h or 2026-01-31T12:00:00Z, not {text!r}"
        ) from None
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _status(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if text.lower() == _NO_ANSWER:
        return {"status_code_class": 0}
    if of_class := _CLASS.match(text):
        return {"status_code_class": int(of_class[1]) * 100}
    if not (text.isascii() and text.isdigit()):
        raise StartFault(f"--status must be such as 503, 5xx or none, not {text!r}")
    return {"status_code": int(text)}
