"""What payloads are held to, by environment, remembered; and what was wrong with them, noted.

An environment in which nothing is held to a schema costs a publication one look-up.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from gateway.cache import Cache
from gateway.config import GatewayConfig
from gateway.draft import Draft
from gateway.metrics import Metrics
from schema.errors import FieldFault, Invalid, Unavailable
from schema.event_type import SchemaMode
from schema.payload_schema import Check, PayloadFault
from schema.store import event_type
from schema.store.link import Pool
from schema.store.pool import reachable
from schema.store.schema_fault import WRITE_EVERY_S, Tally

SCHEMA_FAULT: Final = "value_error.schema"
_ENVIRONMENTS: Final = 10_000  # remembered
Checks = Mapping[str, Check]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A draft whose payload is not as its event type's schema says."""

    environment_id: str
    event_type: str
    check: Check
    fault: PayloadFault

    @property
    def refuses(self) -> bool:
        """Whether it is not to be published."""
        return self.check.mode is SchemaMode.REJECT

    def error(self, where: Sequence[str] = ("body",)) -> Invalid:
        """Make the answer to a message that lies at `where` in the request."""
        msg = f"{self.fault} (schema of {self.event_type}, version {self.check.version})"
        loc = (*where, "payload", *(str(part) for part in self.fault.path))
        return Invalid([FieldFault(loc=loc, msg=msg, type=SCHEMA_FAULT)])


class Catalogue:
    """Holds payloads to the schemas of their event types."""

    def __init__(
        self,
        pool: Pool,
        config: GatewayConfig,
        *,
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        """Know nothing yet."""
        self._pool = pool
        self._acquire_s = config.acquire_s
        self._clock = clock
        self._metrics = metrics
        self._tally = Tally()
        self.cache: Cache[str, Checks] = Cache(
            size=_ENVIRONMENTS,
            lifetime_s=config.key_cache_s,
            deaf_lifetime_s=config.deaf_cache_s,
        )

    async def checks(self, environment_id: str) -> Checks:
        """Give what payloads of an environment are held to, by event type; mostly nothing."""
        known = self.cache.get(environment_id)
        if known is not None:
            return known
        mark = self.cache.mark()
        async with reachable(), self._pool.acquire(timeout=self._acquire_s) as link:
            found = await event_type.checks(link, environment_id)
        self.cache.put(environment_id, found, group=environment_id, mark=mark)
        return found

    async def judge(self, environment_id: str, draft: Draft) -> Judgement | None:
        """Hold a draft to its event type; what is wrong is to be noted once it is published.

        Raises:
            Invalid: It is refused.
        """
        checks = await self.checks(environment_id)
        judged = judge(environment_id, checks, draft) if checks else None
        if judged is not None and judged.refuses:
            self.note(judged)
            raise judged.error()
        return judged

    def note(self, judged: Judgement, message_id: str | None = None) -> None:
        """Count what is wrong with a payload, of the message that it became, if it did."""
        self._metrics.schema_faults.labels(judged.check.mode).inc()
        self._tally.note(
            judged.environment_id, judged.event_type, judged.check, judged.fault, message_id
        )

    async def write(self) -> None:
        """Write down what was noted since the last time."""
        if not self._tally:
            return
        try:
            async with reachable(), self._pool.acquire(timeout=self._acquire_s) as link:
                await self._tally.write(link, self._clock())
        except (Unavailable, asyncpg.PostgresError) as error:
            _log.warning("what was wrong with payloads was not written down: %s", error)

    async def run(self) -> None:
        """Write down what was noted now and then, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            await self.write()


def judge(environment_id: str, checks: Checks, draft: Draft) -> Judgement | None:
    """Hold a draft to its event type; None: nothing is wrong, or nobody asks."""
    check = checks.get(draft.event_type)
    fault = None if check is None else check.fault(draft.payload)
    if check is None or fault is None:
        return None
    return Judgement(
        environment_id=environment_id, event_type=draft.event_type, check=check, fault=fault
    )
