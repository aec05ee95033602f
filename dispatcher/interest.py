"""What anybody wants to hear of attempts, so that what nobody does costs the settling nothing."""

import asyncio
from typing import Final

from dispatcher.rounds import rounds
from schema.operational import Kind
from schema.store import alert_mail, operational, otel
from schema.store.link import Pool

PAUSE_S: Final = 0.5  # between two readings, however much changes
_TABLES: Final = frozenset({"app", "endpoint", "environment", "otel_config"})


class Interest:
    """What some operational endpoint, or some collector, wants; all there is until it is read."""

    def __init__(self, pool: Pool, *, mails: bool) -> None:
        """Know nothing yet; `mails` says whether there is a way to send mails."""
        self._pool = pool
        self._can_mail = mails
        self._mails = mails
        self._stale = asyncio.Event()
        self._stale.set()
        self._kinds: frozenset[str] = frozenset(Kind)
        self._traces = True

    def kinds(self) -> frozenset[str]:
        """Give the kinds that are wanted; the statements that write look again."""
        return self._kinds

    def traces(self) -> bool:
        """Tell whether any environment has its attempts exported; the statement looks again."""
        return self._traces

    def mails(self) -> bool:
        """Tell whether any environment has its apps told by mail; the statement looks again."""
        return self._mails

    def changed(self, table: str) -> None:
        """Take in that a row of a table was changed."""
        if table in _TABLES:
            self._stale.set()

    def all_changed(self) -> None:
        """Take in that changes may have been missed."""
        self._stale.set()

    async def run(self) -> None:
        """Read what is wanted whenever it may have changed, for ever."""
        await rounds("what operators want to hear", self._read, pause_s=PAUSE_S)

    async def _read(self) -> bool:
        await self._stale.wait()
        async with self._pool.acquire() as link:
            self._stale.clear()
            try:
                self._kinds = await operational.wanted(link)
                self._traces = await otel.wanted(link)
                self._mails = self._can_mail and await alert_mail.wanted(link)
            except BaseException:
                self._stale.set()
                raise
        return False
