"""Pollers: ways to read an app's messages by asking, instead of being sent them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from schema.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Poller:
    """A way to read an app's messages. Filters are as an endpoint's; None is all."""

    app_id: str
    id: str
    uid: str | None
    description: str
    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which messages are meant: those that a poller has, and of them those that a reader wants.

    Attributes:
        event_types: One of these; None is any.
        channels: One of these; None is any, and none at all.
        channel: This one as well.
    """

    event_types: tuple[str, ...] | None
    channels: tuple[str, ...] | None
    channel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Helping:
    """Some messages, in the order of their ids.

    Attributes:
        read_to: The id behind which it goes on; "" if nothing was looked at.
        done: Whether there is nothing more for now.
    """

    messages: Sequence[Message]
    read_to: str
    done: bool
