"""What the load sends: bodies that say when they were to go and which they are, and paths.

A body says its time by the machine's monotonic clock, in nanoseconds, which all processes share. A
path says how the receiver answers (`Kind`) and which endpoint it stands for.
"""

from enum import StrEnum
from typing import Final

EVENT_TYPE: Final = "bench.event"
BODY_BYTES: Final = 512
HEAD_BYTES: Final = 38  # of a body: what says the time and the number
_AT_BASE: Final = 10**18  # keeps the time at 19 digits
_FIRST: Final = 10_000_000  # numbers have eight digits
_AT: Final = slice(6, 25)
_NUMBER: Final = slice(30, HEAD_BYTES)


class Kind(StrEnum):
    """How the receiver answers at a path."""

    KEEP = "k"  # 204, and the connection stays
    CLOSE = "c"  # 204, and the connection is closed
    FAIL = "f"  # 500 to the first two attempts of each tenth event, then 204
    HANG = "h"  # not at all


def body(at_ns: int, number: int) -> bytes:
    """Make a payload: when it was to be sent, and which one it is."""
    head = b'{"at":%d,"n":%d,"pad":"' % (_AT_BASE + at_ns, _FIRST + number)
    return head.ljust(BODY_BYTES - 2, b"x") + b'"}'


def read_head(head: bytes) -> tuple[int, int]:
    """Read the time and the number back from the beginning of a payload."""
    return int(head[_AT]) - _AT_BASE, int(head[_NUMBER]) - _FIRST


def sql_body(number: str) -> str:
    """Write the payload of a number as an SQL expression, of no time."""
    pad = BODY_BYTES - 2 - len(body(0, 0).partition(b"x")[0])
    text = f"""'{{"at":{_AT_BASE},"n":' || ({_FIRST} + {number}) || ',"pad":"{"x" * pad}"}}'"""
    return f"convert_to({text}, 'UTF8')"


def sql_number(payload: str) -> str:
    """Write the number of a stored payload as an SQL expression."""
    first, length = _NUMBER.start + 1, HEAD_BYTES - _NUMBER.start
    return f"(convert_from(substring({payload} FROM {first} FOR {length}), 'UTF8')::int - {_FIRST})"


def is_tenth(head: bytes) -> bool:
    """Tell by the beginning of a payload whether its number ends in 0."""
    return head.endswith(b"0", 0, HEAD_BYTES)


def path(kind: Kind, endpoint: int = 0) -> str:
    """Say where an endpoint of the receiver is."""
    return f"/{kind}{endpoint:04d}"
