"""Svix's numbers and words for where a delivery stands and what an attempt came to."""

import base64
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from gateway.query import Query
from schema.delivery import OWED, State
from schema.store.delivery import Standing

_WORDS: Final = ("success", "pending", "fail", "sending", "canceled")
CODE_CLASSES: Final = ("0", "100", "200", "300", "400", "500")
_ENDED: Final = {State.DELIVERED: 0, State.DEAD: 2, State.CANCELLED: 4}


class Status(IntEnum):
    """How Svix numbers it."""

    SUCCESS = 0
    PENDING = 1
    FAIL = 2
    SENDING = 3
    CANCELED = 4

    @property
    def word(self) -> str:
        """Give the word for it."""
        return _WORDS[self]


STATES_OF: Final[Mapping[Status, frozenset[State]]] = {
    Status.SUCCESS: frozenset({State.DELIVERED}),
    Status.PENDING: OWED,
    Status.FAIL: frozenset({State.DEAD}),
    Status.SENDING: OWED,
    Status.CANCELED: frozenset({State.CANCELLED}),
}


def status_of(standing: Standing, *, expanded: bool) -> Status:
    """Say where a delivery stands; without `expanded`, what was called off counts as success."""
    if standing.state in OWED:
        return Status.SENDING if standing.attempts else Status.PENDING
    status = Status(_ENDED[standing.state])
    return Status.SUCCESS if status is Status.CANCELED and not expanded else status


def read_status(query: Query) -> Status | None:
    """Read the filter by status."""
    found = query.choice("status", tuple(str(status.value) for status in Status))
    return None if found is None else Status(int(found))


def read_expanded(query: Query) -> bool:
    """Read whether the caller knows the status `canceled`."""
    return query.boolean("expanded_statuses", default=False)


def read_code_class(query: Query) -> tuple[int, int] | None:
    """Read the filter by class of HTTP status, as from and to; 0 is no answer."""
    found = query.choice("status_code_class", CODE_CLASSES)
    if found is None:
        return None
    least = int(found)
    return least, least + 99 if least else 0


def as_text(raw: bytes) -> str:
    """Give bytes as text: UTF-8, else base64."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode()
