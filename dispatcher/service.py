"""The dispatcher as a whole: its parts put together, and what goes between them.

`Dispatcher.run` owns every task. What is decided stands elsewhere: who sends next in `schedule`,
what an outcome means in `verdict`, which shards are ours in `shards`. Times are seconds of the
loop's clock.
"""

import asyncio
import logging
import ssl
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Final

from nats.aio.msg import Msg

from dispatcher.alert_mail import AlertMail
from dispatcher.alerts import Alerts
from dispatcher.arrivals import Arrivals
from dispatcher.attempt import Attempter
from dispatcher.attempt_log import AttemptLog
from dispatcher.catalogue import Catalogue
from dispatcher.collector import Collectors
from dispatcher.config import DispatcherConfig
from dispatcher.feed import Feed
from dispatcher.guard import Guard, SystemResolver
from dispatcher.health import HealthLimits
from dispatcher.intake import Intake
from dispatcher.interest import Interest
from dispatcher.lane import Lane
from dispatcher.lanes import Lanes
from dispatcher.mail import Mailer
from dispatcher.match import Directory
from dispatcher.notices import Notices
from dispatcher.otel_ask import OtelAsk
from dispatcher.otel_export import OtelExport
from dispatcher.parts import Parts
from dispatcher.pool import PoolLimits
from dispatcher.reconcile import Reconciler
from dispatcher.refill import Refill
from dispatcher.rounds import end, rounds
from dispatcher.schedule import Schedule
from dispatcher.sender import Sender
from dispatcher.settle import Settled, Settler
from dispatcher.shaping import Shaper
from dispatcher.shards import HANDED_OVER, Shards
from dispatcher.stream_check import StreamCheck
from dispatcher.stuck import Stuck
from dispatcher.targets import Targets
from dispatcher.task import TASKS_RUNG, Tasks
from dispatcher.tokens import Tokens
from dispatcher.transport import Transport
from dispatcher.type_counts import TypeCounts
from dispatcher.upkeep import Upkeep
from dispatcher.watch import Watch
from dispatcher.word import Word
from schema.errors import Unavailable
from schema.event import WAKE_ROOT
from schema.store.changes import Changes
from schema.store.schema_fault import WRITE_EVERY_S
from schema.store.shard import Claim
from signer.tls import client_context

TICK_S: Final = 1.0
SWEEP_S: Final = 30.0  # how often idle lanes are dropped
IDLE_S: Final = 60.0  # after which a lane is
_log = logging.getLogger(__name__)


class Dispatcher:
    """One dispatcher process. Make it inside of the event loop that runs it."""

    def __init__(self, given: Parts) -> None:
        """Put the parts together; nothing runs yet."""
        self._given = given
        self._loop = asyncio.get_running_loop()
        self._interest = Interest(given.pool, mails=given.config.mail is not None)
        self._make_sending(given)
        self._make_taking(given)
        self._shards = Shards(
            pool=given.pool,
            bus=given.bus,
            name=given.config.name,
            lease_s=given.config.lease_s,
            on_gained=self._gain,
            on_kept=self._feed.compare,
            on_lost=self._retire,
            retire=self._retire,
            quiet=self._quiet,
        )
        self._tasks = Tasks(given)
        self._upkeep = Upkeep(
            pool=given.pool,
            clock=given.clock,
            retention_days=given.config.retention_days,
            dead_letter_retention_days=given.config.dead_letter_retention_days,
        )

    def _make_sending(self, given: Parts) -> None:
        """Make what is behind the lanes: who sends next, what is sent, what came of it."""
        config = given.config
        self._lanes = Lanes(
            depth=config.lane_depth, held_bytes=config.held_bytes, health=_health_limits(config)
        )
        self._word = Word(given.bus, self._lanes.tests)
        self._schedule = Schedule(
            process_in_flight=config.process_in_flight, app_in_flight=config.app_in_flight
        )
        self._refill = Refill(
            pool=given.pool,
            lanes=self._lanes,
            clock=given.clock,
            config=config,
            on_refilled=self._refilled,
        )
        self._settler = Settler(
            pool=given.pool,
            clock=given.clock,
            config=config,
            metrics=given.metrics,
            epochs=lambda: self._shards.epochs,
            on_settled=self._settled,
            told=self._interest.kinds,
            traces=self._interest.traces,
            mails=self._interest.mails,
        )
        guard = Guard(config.address_policy, SystemResolver())
        self._transport = Transport(
            permits=guard.permits,
            tls=client_context(),
            limits=PoolLimits(per_origin=config.app_in_flight),
            proxy=config.egress_proxy,
        )
        self._collectors = Collectors(
            guard=guard,
            transport=self._transport,
            vault=given.vault,
            policy=config.address_policy,
        )
        self._tokens = Tokens(given, guard=guard, transport=self._transport)
        self._shaper = Shaper(given)
        self._sender = Sender(
            given,
            attempter=_attempter(given, guard, self._transport, self._tokens, self._shaper),
            lanes=self._lanes,
            schedule=self._schedule,
            refill=self._refill,
            settler=self._settler,
            sure_until=lambda: self._shards.sure_until,
        )

    def _make_taking(self, given: Parts) -> None:
        """Make what is in front of the lanes: events, what others made, what endpoints are."""
        directory = self._directory = Directory(
            pool=given.pool, vault=given.vault, config=given.config, shards=given.shards
        )
        self._targets = Targets(
            given,
            directory=directory,
            lanes=self._lanes,
            schedule=self._schedule,
            refill=self._refill,
            on_aimed=self._sender.pump_soon,
        )
        self._changes = Changes(given.pool, on_change=self._changed, on_break=self._all_changed)
        self._arrivals = Arrivals(
            given,
            lanes=self._lanes,
            schedule=self._schedule,
            refill=self._refill,
            targets=self._targets,
            shards=lambda: self._shards.epochs,
            on_ready=self._sender.pump_soon,
        )
        self._stuck = Stuck(
            given,
            lanes=self._lanes,
            arrivals=self._arrivals,
            shards=lambda: self._shards.epochs,
        )
        self._catalogue = Catalogue(given)
        self._feed = Feed(bus=given.bus, stream=given.config.stream, counts=given.metrics.crowds)
        self._intake = Intake(
            given,
            feed=self._feed,
            directory=directory,
            catalogue=self._catalogue,
            sync=self._changes.sync,
            on_taken=self._arrivals.taken,
            on_repeated=self._arrivals.repeated,
            on_by_hand=self._arrivals.by_hand,
            settled_per_s=lambda: self._settler.per_s,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`, then finish what was begun and give the shards back."""
        await self._given.bus.subscribe(f"{WAKE_ROOT}.*", cb=self._rung)
        async with asyncio.TaskGroup() as group:
            takers = [
                group.create_task(part, name=name)
                for name, part in (
                    ("feed", self._feed.run()),
                    ("intake", self._intake.run()),
                    ("changes", self._changes.run()),
                    ("refill", self._refill.run()),
                    ("arrivals", self._arrivals.run()),
                    ("targets", self._targets.run()),
                    ("policies", self._directory.keep_policies()),
                    ("stuck", self._stuck.run()),
                    ("tasks", self._tasks.run()),
                    ("tick", self._tick()),
                    ("upkeep", self._upkeep.run()),
                    ("interest", self._interest.run()),
                    ("notices", Notices(self._given).run()),
                    ("attempt-log", AttemptLog(self._given).run()),
                    ("otel-export", OtelExport(self._given, self._collectors).run()),
                    ("otel-ask", OtelAsk(self._given, self._collectors).run()),
                    ("type-counts", TypeCounts(self._given).run()),
                    ("alerts", Alerts(self._given).run()),
                    ("alert-mail", _mailing(self._given)),
                    ("watch", Watch(self._given).run()),
                    ("reconcile", Reconciler(self._given).run()),
                    ("stream-check", StreamCheck(self._given).run()),
                    ("faults", self._write_faults()),
                )
            ]
            finishers = [
                group.create_task(self._shards.run(), name="shards"),
                group.create_task(self._settler.run(), name="settle"),
                group.create_task(self._shaper.run(), name="shape"),
                group.create_task(self._sender.run(), name="send"),
                group.create_task(self._tokens.run(), name="tokens"),
                group.create_task(self._word.run(), name="word"),
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
        await self._sender.drain(self._given.config.drain_s)
        await end([*takers, *finishers])
        with suppress(Unavailable):
            await self._tasks.leave()
            await self._shards.leave()

    # Shards come and go.

    async def _gain(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            self._lanes.open_shard(claim.shard, now=self._loop.time())
        await self._arrivals.survey([claim.shard for claim in claims])
        self._feed.add(claims)
        self._given.metrics.shards.set(len(self._shards.epochs))
        self._arrivals.wake()
        self._sender.pump_soon()

    async def _retire(self, shards: Sequence[int]) -> None:
        for shard in shards:
            self._schedule.drop(self._lanes.close_shard(shard))
        await self._feed.remove(shards)
        self._given.metrics.shards.set(len(self._shards.epochs))

    def _quiet(self, shard: int) -> bool:
        return not self._sender.begun[shard]

    async def _rung(self, msg: Msg) -> None:
        if msg.subject == HANDED_OVER:
            self._shards.nudge()
        elif msg.subject == TASKS_RUNG:
            self._tasks.wake()
        elif self._lanes.owns(int(msg.subject.rpartition(".")[2])):
            self._arrivals.wake()

    # Between the parts.

    def _changed(self, table: str, key: str) -> None:
        self._targets.changed(table, key)
        self._interest.changed(table)
        self._catalogue.changed(table, key)

    def _all_changed(self) -> None:
        self._targets.all_changed()
        self._interest.all_changed()
        self._catalogue.all_changed()

    def _refilled(self, lane: Lane) -> None:
        self._schedule.ready(lane)
        self._sender.pump_soon()

    def _settled(self, batch: Sequence[Settled], refused: Sequence[Settled]) -> None:
        self._sender.settled(batch, refused)
        if self._lanes.tests:
            self._word.settled(batch)

    async def _write_faults(self) -> None:
        """Write down what was wrong with payloads."""
        await rounds("noting payloads", self._catalogue.write, pause_s=WRITE_EVERY_S)

    async def _tick(self) -> None:
        """Do what is due now and then."""
        swept_at = self._loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            now = self._loop.time()
            self._targets.drop_expired_secrets()
            self._sender.observe()
            self._sender.pump_soon()
            if now - swept_at >= SWEEP_S:
                swept_at = now
                self._lanes.sweep(now=now, idle_s=IDLE_S)


async def _mailing(given: Parts) -> None:
    """Tell apps by mail, if there is a way to."""
    server = given.config.mail
    if server is not None:
        mailer = Mailer(server, tls=ssl.create_default_context())
        await AlertMail(given, mailer, sender=server.sender).run()


def _health_limits(config: DispatcherConfig) -> HealthLimits:
    return HealthLimits(
        most_in_flight=config.endpoint_in_flight,
        failing_after=config.failing_after,
        gap_s=config.probe_gap_s,
        gap_most_s=config.probe_gap_most_s,
        jitter=config.retry_jitter,
    )


def _attempter(
    given: Parts, guard: Guard, transport: Transport, tokens: Tokens, shaper: Shaper
) -> Attempter:
    return Attempter(
        guard=guard,
        transport=transport,
        tokens=tokens,
        shaper=shaper,
        clock=given.clock,
        timeout_s=given.config.request_timeout_s,
        kept_bytes=given.config.response_kept_bytes,
        svix_headers=given.config.svix_headers,
    )
