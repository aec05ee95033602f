"""Pollers: ways to read an app's messages by asking, instead of being sent them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """What one caller of a consumer has in hand, or had: messages that are not committed.

    Attributes:
        read_to: The id of the last message that is committed, or passed by.
        first_offset: The offset of the first of `message_ids`.
        message_ids: In order, each with the offset behind that of the one before.
        until: When others may have them; None is now.
    """

    read_to: str
    first_offset: int
    message_ids: tuple[str, ...] = ()
    until: datetime | None = None

    def holds(self, now: datetime) -> bool:
        """Tell whether others have to wait."""
        return bool(self.message_ids) and self.until is not None and now < self.until

    def taken(self, message_ids: Sequence[str], until: datetime | None) -> "Lease":
        """Lease messages. They keep their offsets if they are those of before, and maybe more.

        Else they get new ones: an offset never means another message than it did.
        """
        known = len(self.message_ids)
        same = tuple(message_ids[:known]) == self.message_ids
        return replace(
            self,
            first_offset=self.first_offset if same else self.first_offset + known,
            message_ids=tuple(message_ids),
            until=until,
        )

    def committed(self, offset: int) -> "Lease":
        """Be done with all up to an offset; one that is committed already changes nothing.

        Raises:
            LookupError: The offset is of nothing that was given.
        """
        done = offset - self.first_offset + 1
        if done > len(self.message_ids):
            raise LookupError(offset)
        if done <= 0:
            return self
        return replace(
            self,
            read_to=max(self.read_to, self.message_ids[done - 1]),
            first_offset=offset + 1,
            message_ids=self.message_ids[done:],
        )
