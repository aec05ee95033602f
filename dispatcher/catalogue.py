"""What payloads are held to, by environment, and those of a batch of events held to it.

A batch of which nothing is held to a schema costs one look-up for each environment in it.
"""

from collections.abc import Collection, Mapping
from typing import Final

from dispatcher.parts import Parts
from schema.event import Draft, Rejection
from schema.event_type import SchemaMode
from schema.payload_schema import Check
from schema.store import event_type
from schema.store.schema_fault import Tally

REASON: Final = "schema_mismatch"
Checks = Mapping[str, Check]
_MOST: Final = 10_000  # environments in memory


class Catalogue:
    """Holds payloads to the schemas of their event types."""

    def __init__(self, given: Parts) -> None:
        """Know nothing yet."""
        self._pool = given.pool
        self._clock = given.clock
        self._misshapen = given.metrics.misshapen
        self._known: dict[str, Checks] = {}
        self._changes = 0
        self._tally = Tally()

    def changed(self, table: str, key: str) -> None:
        """Forget what a notification is about."""
        if table == "event_type":
            self._changes += 1
            self._known.pop(key, None)

    def all_changed(self) -> None:
        """Forget everything: notifications may have been missed."""
        self._changes += 1
        self._known.clear()

    async def checks(self, environments: Collection[str]) -> dict[str, Checks]:
        """Give what payloads are held to, of those environments where any are; mostly of none."""
        found = {}
        for environment_id in environments:
            known = self._known.get(environment_id)
            if known is None:
                known = await self._read(environment_id)
            if known:
                found[environment_id] = known
        return found

    async def _read(self, environment_id: str) -> Checks:
        changes = self._changes
        async with self._pool.acquire() as link:
            read = await event_type.checks(link, environment_id)
        if changes == self._changes:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[environment_id] = read
        return read

    def judge(self, checks: Checks, environment_id: str, draft: Draft) -> Rejection | None:
        """Hold an event to its event type; what a gateway accepted it has looked at."""
        check = None if draft.by_gateway else checks.get(draft.event_type)
        fault = None if check is None else check.fault(draft.body)
        if check is None or fault is None:
            return None
        self._misshapen.labels(check.mode).inc()
        rejects = check.mode is SchemaMode.REJECT
        message_id = None if rejects else draft.message_id
        self._tally.note(environment_id, draft.event_type, check, fault, message_id)
        detail = f"{fault} (version {check.version})"
        return Rejection(reason=REASON, detail=detail) if rejects else None

    async def write(self) -> bool:
        """Write down what was noted since the last time. There is never more to do."""
        if self._tally:
            async with self._pool.acquire() as link:
                await self._tally.write(link, self._clock())
        return False
