"""What an app may publish by HTTP: events in a second, and deliveries owed.

The pace is each gateway process's own: an app that publishes through several may publish that much
through each. Events that come by NATS pass no gateway and are not limited here.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from gateway.backlog import EVERY_S, Backlog
from gateway.config import GatewayConfig
from gateway.pace import Pace
from schema.errors import HooklineError
from schema.store.link import Pool

_REFILL_S: Final = 1.0


class OverLimit(HooklineError):
    """The app publishes more than it may; nothing was accepted. `headers` go with the answer."""

    code = "over_limit"

    def __init__(self, detail: str, retry_after_s: float, headers: Mapping[str, str]) -> None:
        """Say which limit was met and when to try again."""
        super().__init__(detail)
        self.retry_after_s = retry_after_s
        self.headers = headers


class RateLimited(OverLimit):
    """The app published its events of this second."""

    code = "rate_limited"


class BacklogFull(OverLimit):
    """The app is owed as many deliveries as it may be."""

    code = "backlog_full"


class Limits:
    """The limits of one gateway process; 0 in the configuration is no limit."""

    def __init__(
        self,
        pool: Pool,
        config: GatewayConfig,
        *,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start with all that may be taken."""
        self.backlog = Backlog(pool, config, monotonic_s=monotonic_s)
        self._pace = Pace(config.app_events_per_s, monotonic_s)

    def admit(self, app_id: str, wanted: int) -> int:
        """Say how many of the events an app may publish now, at least one, and count them.

        Raises:
            OverLimit: None.
        """
        if self.backlog.quota and self.backlog.full(app_id):
            raise BacklogFull(
                f"{self.backlog.quota} deliveries of this application wait, which is the most "
                "(HOOKLINE_APP_BACKLOG): mend, disable or delete the endpoints that do not take "
                "theirs, then publish again.",
                EVERY_S,
                self.headers(app_id),
            )
        if not self._pace.per_s:
            return wanted
        granted = self._pace.take(app_id, wanted)
        if not granted:
            raise self.too_fast(app_id)
        return granted

    def too_fast(self, app_id: str) -> RateLimited:
        """Make the error of events that come too fast."""
        return RateLimited(
            f"This application may publish {self._pace.per_s} events per second "
            "(HOOKLINE_APP_EVENTS_PER_S).",
            _REFILL_S,
            self.headers(app_id),
        )

    def accepted(self, app_id: str, events: int) -> None:
        """Take note of events that were published."""
        if self.backlog.quota:
            self.backlog.accepted(app_id, events)

    def headers(self, app_id: str) -> Mapping[str, str]:
        """Give `RateLimit` and its policy, as draft-ietf-httpapi-ratelimit-headers-10 has them."""
        per_s = self._pace.per_s
        if not per_s:
            return {}
        return {
            "ratelimit-policy": f'"events";q={per_s};w=1',
            "ratelimit": f'"events";r={self._pace.left(app_id)};t=1',
        }

    async def run(self) -> None:
        """Keep counting what apps are owed, until cancelled."""
        if self.backlog.quota:
            await self.backlog.run()
