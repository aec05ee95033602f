"""Points lanes at what their endpoints are, and again whenever that changes."""

import asyncio
from collections.abc import Callable
from collections.abc import Set as AbstractSet

from dispatcher.lane import Lane
from dispatcher.lanes import Lanes
from dispatcher.match import Directory, Tenant
from dispatcher.parts import Parts
from dispatcher.reach import when_reachable
from dispatcher.refill import Refill
from dispatcher.schedule import Schedule


class Targets:
    """Goes between the directory and the lanes."""

    def __init__(
        self,
        given: Parts,
        *,
        directory: Directory,
        lanes: Lanes,
        schedule: Schedule,
        refill: Refill,
        on_aimed: Callable[[], None],
    ) -> None:
        """Know of no change; `on_aimed` is told after lanes were pointed anew."""
        self._clock = given.clock
        self._directory = directory
        self._lanes = lanes
        self._schedule = schedule
        self._refill = refill
        self._on_aimed = on_aimed
        self._loop = asyncio.get_running_loop()
        self._stale: set[str] = set()  # apps whose lanes may point at what is no more
        self._some_stale = asyncio.Event()

    async def run(self) -> None:
        """Point lanes anew, for ever."""
        while True:
            await self._some_stale.wait()
            self._some_stale.clear()
            if not await when_reachable(self._aim_stale) and self._stale:
                self._some_stale.set()

    def changed(self, table: str, key: str) -> None:
        """Note a change of configuration."""
        self._stale |= self._directory.changed(table, key)
        self._some_stale.set()

    def all_changed(self) -> None:
        """Note that changes may have been missed."""
        self._stale |= self._directory.forget_all() | {lane.app_id for lane in self._lanes}
        self._some_stale.set()

    def drop_expired_secrets(self) -> None:
        """Have apps read again of which a secret has expired."""
        for app_id in self._directory.expired(self._clock()):
            self.changed("endpoint_secret", app_id)

    async def know(self, app_ids: AbstractSet[str]) -> dict[str, Tenant]:
        """Give the apps that exist."""
        found = ((app_id, self._directory.tenant(app_id)) for app_id in app_ids)
        known = {app_id: tenant for app_id, tenant in found if tenant is not None}
        return known | await self._directory.load(app_ids - known.keys(), self._clock())

    def newest(self, tenant: Tenant) -> Tenant | None:
        """Give what is known of an app by now, if anything is."""
        return self._directory.tenant(tenant.id)

    def lane(self, tenant: Tenant | None, shard: int, app_id: str, endpoint_id: str) -> Lane:
        """Give the lane of an endpoint; a `tenant` of None does not exist any more."""
        now = self._loop.time()
        lane = self._lanes.open_lane(tenant, shard, app_id, endpoint_id, now=now)
        if self._directory.tenant(app_id) is not tenant:  # it changed since it was read
            self._stale.add(app_id)
            self._some_stale.set()
        return lane

    def aim(self, lane: Lane, tenant: Tenant | None) -> None:
        """Point a lane at what its endpoint is now."""
        now = self._loop.time()
        self._lanes.retarget(lane, tenant, now=now)
        self._schedule.ready(lane)
        self._refill.look(lane, now)
        self._refill.drained(lane)

    async def _aim_stale(self) -> None:
        stale, self._stale = self._stale, set()
        apps = [app_id for app_id in stale if self._lanes.of_app(app_id)]
        try:
            tenants = await self._directory.load(apps, self._clock())
        except BaseException:
            self._stale |= stale
            raise
        for app_id in apps:
            for lane in self._lanes.of_app(app_id):
                self.aim(lane, tenants.get(app_id))
        self._on_aimed()
