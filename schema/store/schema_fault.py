"""Where payloads were not as their event type's schema says, added up.

Whoever looks at payloads notes in memory what is wrong, and writes it now and then: a process that
dies loses the count of a second, never a message.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schema.event_type import SchemaMode
from schema.payload_schema import Check, PayloadFault
from schema.store import statements
from schema.store.link import Link

MOST_PLACES: Final = 100  # of an event type; what else goes wrong is only counted as a metric
WRITE_EVERY_S: Final = 1.0
_MOST_NOTED: Final = 1_000  # places in memory
_MOST_POINTER: Final = 300
_SQL = statements.load("schema_fault")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place where payloads go wrong.

    Attributes:
        pointer: With `*` for places in lists.
        version: Of the schema, the last time.
        times: How often.
        message_id: The newest message, if it was accepted.
    """

    pointer: str
    rule: str
    version: str
    mode: SchemaMode
    detail: str
    times: int
    first_at: datetime
    last_at: datetime
    message_id: str | None


@dataclass(slots=True)
class _Count:
    version: str
    mode: SchemaMode
    detail: str
    times: int = 0
    message_id: str | None = None


class Tally:
    """What went wrong and is not written yet."""

    def __init__(self) -> None:
        """Start with nothing."""
        self._counts: dict[tuple[str, str, str, str], _Count] = {}

    def __len__(self) -> int:
        return len(self._counts)

    def note(
        self,
        environment_id: str,
        event_type: str,
        check: Check,
        fault: PayloadFault,
        message_id: str | None = None,
    ) -> None:
        """Count a fault."""
        key = (environment_id, event_type, _storable(fault.place), fault.rule)
        count = self._counts.get(key)
        if count is None:
            if len(self._counts) >= _MOST_NOTED:
                return
            count = _Count(check.version, check.mode, _storable(fault.detail))
            self._counts[key] = count
        count.times += 1
        count.message_id = message_id or count.message_id

    async def write(self, link: Link, now: datetime) -> None:
        """Add what was noted to what is stored."""
        taken, self._counts = self._counts, {}
        if not taken:
            return
        keys, counts = list(taken), list(taken.values())
        await link.execute(
            _SQL["add"],
            *([key[column] for key in keys] for column in range(4)),
            [count.version for count in counts],
            [count.mode for count in counts],
            [count.detail for count in counts],
            [count.times for count in counts],
            [count.message_id for count in counts],
            now,
            MOST_PLACES,
        )


async def of_event_type(link: Link, environment_id: str, name: str) -> list[Place]:
    """Give where payloads of an event type went wrong, the last first."""
    rows = await link.fetch(_SQL["of_event_type"], environment_id, name, MOST_PLACES)
    return [Place(**(dict(row) | {"mode": SchemaMode(row["mode"])})) for row in rows]


async def clear(link: Link, environment_id: str, name: str) -> None:
    """Forget where payloads of an event type went wrong."""
    await link.execute(_SQL["clear"], environment_id, name)


def _storable(text: str) -> str:
    """Cut a text, and leave out what Postgres does not take."""
    return text[:_MOST_POINTER].replace("\0", "\ufffd").encode("utf-8", "replace").decode()
