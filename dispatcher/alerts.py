"""Looks at the alert rules now and then, by one dispatcher at a time.

A look is one transaction: what was measured, what is known from now on, and what is told of it.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema.alert import AlertRule, Measure, review
from schema.store import alert as store
from schema.store.link import Pool

EVERY_S: Final = 15.0


class Alerts:
    """Raises alerts, and clears them."""

    def __init__(self, given: Parts) -> None:
        """Look at nothing yet."""
        self._pool: Pool = given.pool
        self._clock: Callable[[], datetime] = given.clock
        self._update_s = given.config.alert_update_s

    async def run(self) -> None:
        """Look at all rules, for ever."""
        await rounds("looking for alerts", self.once, pause_s=EVERY_S)

    async def once(self) -> bool:
        """Look at all rules, unless another process is at it. There is never more to do."""
        now = self._clock()
        async with self._pool.acquire() as link, link.transaction():
            if not await store.try_lock(link):
                return False
            rules = await store.at_work(link)
            present = await store.present(link)
            measured = await store.measure(link, _measures(rules), now)
            for rule in rules:
                key = (rule.environment_id, rule.id)
                known = present.get(key, {})
                found = review(rule, known, measured.get(key, {}), now=now, update_s=self._update_s)
                await store.write(link, rule, known, found, now)
        return False


def _measures(rules: list[AlertRule]) -> list[Measure]:
    return sorted({rule.measure for rule in rules})
