"""The dispatcher as a whole: its parts put together, and what goes between them.

`Dispatcher.run` owns every task. What is decided stands elsewhere: who sends next in `schedule`,
what an outcome means in `verdict`, which shards are ours in `shards`. Times are seconds of the
loop's clock.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import datetime
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from dispatcher.attempt import Attempter
from dispatcher.config import DispatcherConfig
from dispatcher.connection import tls_context
from dispatcher.guard import Guard, SystemResolver
from dispatcher.health import HealthLimits
from dispatcher.intake import Intake, Taken
from dispatcher.lane import Lane, Owed
from dispatcher.lanes import Lanes
from dispatcher.match import Directory, Tenant
from dispatcher.metrics import Metrics
from dispatcher.pool import PoolLimits
from dispatcher.refill import Refill
from dispatcher.schedule import Schedule
from dispatcher.sender import Sender
from dispatcher.settle import Settler
from dispatcher.shards import HANDED_OVER, Shards
from dispatcher.transport import Transport
from dispatcher.upkeep import Upkeep
from schema.errors import Unavailable
from schema.event import WAKE_ROOT, Draft
from schema.store import lane as lane_store
from schema.store.changes import Changes
from schema.store.link import Pool
from schema.store.pool import reachable
from schema.store.shard import Claim
from signer.vault import Vault

LOOK_S: Final = 1.0  # how often work of others is looked for, should a ring be lost
SWEEP_S: Final = 30.0  # how often idle lanes are dropped
IDLE_S: Final = 60.0  # after which a lane is
SURVEY_S: Final = 60.0  # how often Postgres is asked for whatever memory may have missed
_log = logging.getLogger(__name__)


class Dispatcher:
    """One dispatcher process. Make it inside of the event loop that runs it."""

    def __init__(
        self,
        *,
        pool: Pool,
        bus: Client,
        vault: Vault,
        clock: Callable[[], datetime],
        dice: Callable[[], float],
        config: DispatcherConfig,
        metrics: Metrics,
        shards: int,
    ) -> None:
        """Put the parts together; nothing runs yet.

        Args:
            pool: Postgres.
            bus: NATS.
            vault: Opens secrets at rest.
            clock: Aware UTC.
            dice: Uniform in [0, 1).
            config: Limits.
            metrics: What is counted.
            shards: How many the installation has.
        """
        self._pool = pool
        self._bus = bus
        self._clock = clock
        self._config = config
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._directory = Directory(pool=pool, vault=vault, config=config, shards=shards)
        self._changes = Changes(pool, on_change=self._changed, on_break=self._all_changed)
        self._lanes = Lanes(
            depth=config.lane_depth,
            held_bytes=config.held_bytes,
            health=HealthLimits(
                most_in_flight=config.endpoint_in_flight,
                failing_after=config.failing_after,
                gap_s=config.probe_gap_s,
                gap_most_s=config.probe_gap_most_s,
                jitter=config.retry_jitter,
            ),
        )
        self._schedule = Schedule(
            process_in_flight=config.process_in_flight, app_in_flight=config.app_in_flight
        )
        self._refill = Refill(
            pool=pool, lanes=self._lanes, clock=clock, config=config, on_refilled=self._ready
        )
        self._shards = Shards(
            pool=pool,
            bus=bus,
            name=config.name,
            lease_s=config.lease_s,
            on_gained=self._gain,
            on_lost=self._retire,
            retire=self._retire,
            quiet=self._quiet,
        )
        self._settler = Settler(
            pool=pool,
            clock=clock,
            config=config,
            metrics=metrics,
            epochs=lambda: self._shards.epochs,
            on_settled=lambda batch: self._sender.settled(batch),  # noqa: PLW0108 made below
        )
        guard = Guard(config.address_policy, SystemResolver())
        self._transport = Transport(
            permits=guard.permits,
            tls=tls_context(),
            limits=PoolLimits(per_origin=config.app_in_flight),
            proxy=config.egress_proxy,
        )
        self._sender = Sender(
            attempter=Attempter(
                guard=guard,
                transport=self._transport,
                clock=clock,
                timeout_s=config.request_timeout_s,
                kept_bytes=config.response_kept_bytes,
                svix_headers=config.svix_headers,
            ),
            lanes=self._lanes,
            schedule=self._schedule,
            refill=self._refill,
            settler=self._settler,
            clock=clock,
            dice=dice,
            config=config,
            metrics=metrics,
            sure_until=lambda: self._shards.sure_until,
        )
        self._intake = Intake(
            pool=pool,
            bus=bus,
            directory=self._directory,
            clock=clock,
            config=config,
            metrics=metrics,
            sync=self._changes.sync,
            on_taken=self._taken,
            on_repeated=self._repeated,
            settled_per_s=lambda: self._settler.per_s,
        )
        self._upkeep = Upkeep(
            pool=pool,
            clock=clock,
            retention_days=config.retention_days,
            dead_letter_retention_days=config.dead_letter_retention_days,
        )
        self._stale: set[str] = set()
        self._some_stale = asyncio.Event()
        self._woken = asyncio.Event()
        self._wakes: set[tuple[int, str, str]] = set()  # drained and not seen to yet

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what was begun and give the shards back."""
        await self._bus.subscribe(f"{WAKE_ROOT}.*", cb=self._rung)
        async with asyncio.TaskGroup() as group:
            takers = [
                group.create_task(part, name=name)
                for name, part in (
                    ("intake", self._intake.run()),
                    ("changes", self._changes.run()),
                    ("refill", self._refill.run()),
                    ("wake", self._drain_wakes()),
                    ("retarget", self._retarget()),
                    ("tick", self._tick()),
                    ("upkeep", self._upkeep.run()),
                )
            ]
            finishers = [
                group.create_task(self._shards.run(), name="shards"),
                group.create_task(self._settler.run(), name="settle"),
                group.create_task(self._sender.run(), name="send"),
            ]
            await stop.wait()
            await self._stop(takers, finishers)
        await self._transport.aclose()

    async def _stop(
        self, takers: Iterable[asyncio.Task[None]], finishers: Collection[asyncio.Task[None]]
    ) -> None:
        _log.info("draining: %d attempts under way", self._schedule.in_flight)
        self._sender.hold()
        for task in takers:
            task.cancel()
        await self._sender.drain(self._config.drain_s)
        for task in finishers:
            task.cancel()
        await asyncio.wait(finishers)
        with suppress(Unavailable):
            await self._shards.leave()

    # Shards come and go.

    async def _gain(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._lanes.open_shard(claim.shard, now=self._loop.time())
        await self._survey([claim.shard for claim in claims])
        self._intake.add(claims)
        self._metrics.shards.set(len(self._shards.epochs))
        self._woken.set()
        self._sender.pump_soon()

    async def _retire(self, shards: Sequence[int]) -> None:
        for shard in shards:
            self._schedule.drop(self._lanes.close_shard(shard))
        await self._intake.remove(shards)
        self._metrics.shards.set(len(self._shards.epochs))

    def _quiet(self, shard: int) -> bool:
        return not self._sender.begun[shard]

    async def _survey(self, shards: Iterable[int]) -> None:
        """Find out which endpoints of shards are owed something, and when."""
        for shard in shards:
            async with self._pool.acquire() as link:
                rows = [(*row, False) for row in await lane_store.survey(link, shard)]
                rows += [(*row, True) for row in await lane_store.survey_in_order(link, shard)]
            known = await self._know({app_id for app_id, *_ in rows})
            for app_id, endpoint_id, due_at, placed in rows:
                if self._lanes.owns(shard):
                    lane = self._lane(known.get(app_id), shard, app_id, endpoint_id)
                    self._found(lane, due_at, placed=placed)

    def _found(self, lane: Lane, due_at: datetime, *, placed: bool) -> None:
        """Note that a lane is owed something, and when; order counts only if it is asked for."""
        lane.placed = lane.placed or placed
        if placed and not lane.ordered:
            self._refill.look(lane, self._loop.time())
        else:
            self._refill.look_when_due(lane, due_at)
        self._refill.drained(lane)

    async def _know(self, app_ids: AbstractSet[str]) -> dict[str, Tenant]:
        """Give the apps that exist."""
        found = ((app_id, self._directory.tenant(app_id)) for app_id in app_ids)
        known = {app_id: tenant for app_id, tenant in found if tenant is not None}
        return known | await self._directory.load(app_ids - known.keys(), self._clock())

    def _lane(self, tenant: Tenant | None, shard: int, app_id: str, endpoint_id: str) -> Lane:
        """Give the lane of an endpoint; a `tenant` of None does not exist any more."""
        now = self._loop.time()
        lane = self._lanes.open_lane(tenant, shard, app_id, endpoint_id, now=now)
        if self._directory.tenant(app_id) is not tenant:  # it changed since it was read
            self._stale.add(app_id)
            self._some_stale.set()
        return lane

    # Work comes in.

    def _taken(self, messages: Sequence[Taken]) -> int:
        """Put new deliveries of our shards into their lanes; what has no room is read back.

        Tells of how many that goes and would be sent soon.
        """
        now, spilled = self._loop.time(), 0
        for taken in messages:
            shard, draft = taken.tenant.shard, taken.draft
            if not self._lanes.owns(shard):
                continue
            # Newer than what the lanes were pointed at, if a change was heard of meanwhile.
            known = self._directory.tenant(taken.tenant.id)
            tenant = known or taken.tenant
            for target in taken.targets:
                lane = self._lanes.get(tenant.id, target.id)
                if lane is None or known is None:
                    lane = self._lane(tenant, shard, tenant.id, target.id)
                if lane.target is not tenant.targets.get(target.id):
                    self._aim(lane, tenant)
                spilled += self._queue(lane, draft, now, placed=target.ordered)
        self._sender.pump_soon()
        return spilled

    def _queue(self, lane: Lane, draft: Draft, now: float, *, placed: bool) -> bool:
        """Queue a delivery; tell whether it had no room where it would be sent soon."""
        lane.placed = lane.placed or placed
        owed = Owed(
            lane=lane,
            message_id=draft.message_id,
            event_type=draft.event_type,
            payload=draft.body,
            content_type=draft.content_type,
            due_at=draft.at,
            placed=placed,
        )
        if self._lanes.offer(lane, owed):
            self._schedule.ready(lane)
            return False
        if owed.message_id not in lane.held and not (lane.blocked and placed):
            self._refill.look(lane, now)
        return not (lane.paused or lane.blocked or lane.health.failing)

    def _repeated(self, messages: Sequence[Taken]) -> None:
        """Look for what was stored by a statement of ours whose answer got lost."""
        for taken in messages:
            shard = taken.tenant.shard
            for target in taken.targets if self._lanes.owns(shard) else ():
                lane = self._lane(taken.tenant, shard, taken.tenant.id, target.id)
                self._refill.look(lane, self._loop.time())

    def _ready(self, lane: Lane) -> None:
        self._schedule.ready(lane)
        self._sender.pump_soon()

    async def _rung(self, msg: Msg) -> None:
        if msg.subject == HANDED_OVER:
            self._shards.nudge()
        elif self._lanes.owns(int(msg.subject.rpartition(".")[2])):
            self._woken.set()

    async def _drain_wakes(self) -> None:
        """Take the work that others made: at once when rung for, else within a second."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._woken.wait()
            self._woken.clear()
            await self._when_reachable(self._drain_wakes_once)

    async def _drain_wakes_once(self) -> None:
        shards = list(self._shards.epochs)
        if not shards:
            return
        async with self._pool.acquire() as link:
            self._wakes |= set(await lane_store.drain_wake(link, shards))
        known = await self._know({app_id for _, app_id, _ in self._wakes})
        wakes, self._wakes = self._wakes, set()
        for shard, app_id, endpoint_id in wakes:
            if self._lanes.owns(shard):
                lane = self._lane(known.get(app_id), shard, app_id, endpoint_id)
                self._refill.look_by_hand(lane)

    # Configuration changes.

    def _changed(self, table: str, key: str) -> None:
        self._stale |= self._directory.changed(table, key)
        self._some_stale.set()

    def _all_changed(self) -> None:
        self._stale |= self._directory.forget_all() | {lane.app_id for lane in self._lanes}
        self._some_stale.set()

    async def _retarget(self) -> None:
        """Point lanes at what their endpoints are now."""
        while True:
            await self._some_stale.wait()
            self._some_stale.clear()
            await self._when_reachable(self._retarget_once)

    async def _retarget_once(self) -> None:
        stale, self._stale = self._stale, set()
        apps = [app_id for app_id in stale if self._lanes.of_app(app_id)]
        try:
            tenants = await self._directory.load(apps, self._clock())
        except BaseException:
            self._stale |= stale
            raise
        for app_id in apps:
            for lane in self._lanes.of_app(app_id):
                self._aim(lane, tenants.get(app_id))
        self._sender.pump_soon()

    def _aim(self, lane: Lane, tenant: Tenant | None) -> None:
        """Point a lane at what its endpoint is now."""
        now = self._loop.time()
        self._lanes.retarget(lane, tenant, now=now)
        self._schedule.ready(lane)
        self._refill.look(lane, now)
        self._refill.drained(lane)

    async def _tick(self) -> None:
        """Do what is due now and then."""
        swept_at = surveyed_at = self._loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._loop.time()
            self._drop_expired_secrets()
            self._sender.observe()
            self._sender.pump_soon()
            if now - swept_at >= SWEEP_S:
                swept_at = now
                self._lanes.sweep(now=now, idle_s=IDLE_S)
            if now - surveyed_at >= SURVEY_S:
                surveyed_at = now
                await self._when_reachable(lambda: self._survey(list(self._shards.epochs)))

    def _drop_expired_secrets(self) -> None:
        expired = self._directory.expired(self._clock())
        for app_id in expired:
            self._changed("endpoint_secret", app_id)

    async def _when_reachable(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something with Postgres; if it is away, pause and have it done the next time."""
        try:
            async with reachable():
                await work()
        except Unavailable as error:
            _log.warning("waits for Postgres: %s", error.__cause__)
            await asyncio.sleep(LOOK_S / 2)
            self._woken.set()
            if self._stale:
                self._some_stale.set()
