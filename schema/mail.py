"""E-mails to apps about their endpoints: to whom, about what, when again. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from schema.operational import Kind

KINDS: Final = (Kind.ENDPOINT_DISABLED, Kind.ATTEMPT_EXHAUSTED)
GATHER_S: Final = 60.0  # messages that are given up come in company
FIRST_WAIT_S: Final = 60.0
LONGEST_WAIT_S: Final = 3_600.0
GIVE_UP: Final = timedelta(days=1)
MOST_ADDRESSES: Final = 10
MOST_CHARS: Final = 1_024  # of all of them
_DOUBLED: Final = 6
# What RFC 5322 has between commas, less what needs quotes: nothing here can end a header.
_ADDRESS: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@"
    r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The last attempt that failed."""

    at: datetime
    status: int | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What is told of one endpoint.

    Attributes:
        number: How many events, of which the first was at `since` and the last at `last_at`.
        fail_since: Of one that was disabled as it failed: since when.
        reason: Why it was disabled, in the word of its state.
    """

    kind: str
    endpoint_id: str
    url: str
    number: int
    since: datetime
    last_at: datetime
    fail_since: datetime | None
    reason: str | None
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Whom it is told: an app, and what its environment's settings say of mails."""

    app_id: str
    uid: str | None
    name: str
    email: str
    settings: Mapping[str, Any]


def read_addresses(text: str) -> tuple[str, ...]:
    """Read addresses with commas between them; repeated ones count once.

    Raises:
        ValueError: Worded for whoever wrote them.
    """
    if len(text) > MOST_CHARS:
        raise ValueError(f"must have at most {MOST_CHARS} characters")
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for address in found:
        if not _ADDRESS.match(address):
            raise ValueError(f"{address[:80]!r} is not an e-mail address")
    if not 1 <= len(found) <= MOST_ADDRESSES:
        raise ValueError(f"must be 1 to {MOST_ADDRESSES} addresses, with commas")
    return found


def wait_s(failures: int, *, dice: float) -> float:
    """Say how long to wait before a mail is tried again.

    Args:
        failures: In a row; at least 1.
        dice: Uniform in [0, 1). Lengthens by up to a half, so that a mail at which a server
            stumbles is not always the first of those that wait.
    """
    grown = min(FIRST_WAIT_S * 2.0 ** min(failures - 1, _DOUBLED), LONGEST_WAIT_S)
    return grown * (1 + dice / 2)
