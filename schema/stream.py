"""Counting events on the stream: what is asked of JetStream, and what it answers. Pure."""

from collections.abc import Mapping
from datetime import datetime

import orjson


def count_request(subject: str, start: int) -> bytes:
    """Ask for the first event of a subject from a sequence on."""
    return orjson.dumps({"seq": start, "next_by_subj": subject, "batch": 1})


def count_subject(stream: str) -> str:
    """Give the subject to ask on."""
    return f"$JS.API.DIRECT.GET.{stream}"


def read_count(headers: Mapping[str, str] | None) -> tuple[int, datetime] | None:
    """Read how many events there are from there on, and when the first came; None if none."""
    headers = headers or {}
    if "Status" in headers:
        return None
    return 1 + int(headers["Nats-Num-Pending"]), datetime.fromisoformat(headers["Nats-Time-Stamp"])


def info_subject(stream: str) -> str:
    """Give the subject on which a stream tells of itself."""
    return f"$JS.API.STREAM.INFO.{stream}"


def read_first(answer: bytes) -> int:
    """Read the sequence of the oldest event that a stream holds.

    Raises:
        LookupError: It is not told.
        ValueError: The answer cannot be read.
    """
    return int(orjson.loads(answer)["state"]["first_seq"])
