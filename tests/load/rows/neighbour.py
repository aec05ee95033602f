"""(f) What an app at 20 events/s notices of a neighbour that makes trouble.

The victim has a receiver and a load generator of its own. Its latency counts from the intended time
of each event, and only of events that were due while the trouble lasted.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Final

from tests.load import seed
from tests.load.payload import Kind
from tests.load.seed import Target
from tests.load.site import SETTLE_S, Run, Site, latency_ms, opened, patience_s
from tests.load.table import Figure, at_most
from tests.load.waiting import LoadFault, reasons, until
from tests.load.workers import Arrival, Receiver, Worker, generating, receiving

_RATE: Final = 20.0
_TIMES_QUIET: Final = 2.0
_SLACK_MS: Final = 10.0
_HANGING_ENDPOINTS: Final = 20
_HANGING_EVENTS: Final = 200
_LEAD_S: Final = 0.2  # of the trouble, before the victim is looked at
_LIMITED_PER_S: Final = 10
_BULK: Final = 500  # messages of a request of the flood by HTTP
_BULK_CONNECTIONS: Final = 8
_OWED: Final = """SELECT count(*) FROM delivery WHERE shard = $1 AND app_id = $2
                  AND state IN ('pending', 'retrying') AND place IS NULL"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Street:
    """The victim with its own receiver and load, and the site where neighbours move in."""

    site: Site
    victim: str
    own: Site

    async def latencies(self, *, http: bool = False) -> list[Arrival]:
        """Let the victim publish for its time."""
        seconds = self.site.run.scale.neighbour_s
        return (await self.own.paced(self.victim, rate=_RATE, seconds=seconds, http=http)).arrivals


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trouble:
    """What a neighbour does while the victim is looked at."""

    deed: Coroutine[None, None, object] | None = None
    deliveries: int | None = None  # with the last of them it is over; None: it lasts
    http: bool = False  # the victim publishes by HTTP, too


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Measure the victim quiet, then beside each neighbour, one after the other."""
    async with opened(run) as site, receiving() as receiver, generating() as load:
        street = await _move_in(site, receiver, load)
        quiet_ms = dict[bool, dict[float, float]]()
        for http, name in _QUIET.items():
            quiet = await street.latencies(http=http)
            quiet_ms[http] = {50.0: latency_ms(quiet, 50), 99.0: latency_ms(quiet, 99)}
            for figure in _figures(name, quiet, None):
                yield figure
        failures = list[Exception]()
        for name, prepare in _TROUBLES.items():
            try:
                trouble = await prepare(street)
                came = await _beside(street, trouble)
            except Exception as failure:  # noqa: BLE001 - the other troubles are made all the same
                failures.append(LoadFault(f"{name}: {'; '.join(reasons(failure))}"))
            else:
                for figure in _figures(name, came, quiet_ms[trouble.http]):
                    yield figure
            await _clear(street)
        if failures:
            raise ExceptionGroup("troubles that could not be made", failures)


async def _move_in(site: Site, receiver: Receiver, load: Worker) -> _Street:
    victim = await site.here.with_endpoint(receiver.url())
    own = Site(run=site.run, here=site.here, receiver=receiver, load=load)
    await site.here.start_and_own(1)
    await own.warm_up(victim)
    return _Street(site=site, victim=victim, own=own)


async def _beside(street: _Street, trouble: _Trouble) -> list[Arrival]:
    """Start a trouble and measure the victim while it lasts."""
    begin_ns, end_ns = time.monotonic_ns(), None
    async with asyncio.TaskGroup() as group:
        if trouble.deed is not None:
            group.create_task(trouble.deed)
        await asyncio.sleep(_LEAD_S)
        came = await street.latencies(http=trouble.http)
    if trouble.deliveries is not None:
        end_ns = await street.site.wait_for(trouble.deliveries)
    kept = [one for one in came if end_ns is None or begin_ns <= one.intended_ns <= end_ns]
    if not kept:
        raise LoadFault("the trouble was over before the victim published")
    return kept


async def _flood_elsewhere(street: _Street) -> _Trouble:
    shard = street.site.here.shard_of(street.victim)
    return await _flood(street, lambda other: other != shard)


async def _flood_beside(street: _Street) -> _Trouble:
    shard = street.site.here.shard_of(street.victim)
    return await _flood(street, lambda other: other == shard)


async def _flood(street: _Street, fits: Callable[[int], bool]) -> _Trouble:
    site, number = street.site, street.site.run.scale.flood
    app_id = await site.here.new_app(fits)
    await site.here.new_endpoint(app_id, site.receiver.url())
    await site.receiver.ask("reset")
    return _Trouble(deed=site.flood(app_id, number=number), deliveries=number)


async def _flood_by_http(street: _Street) -> _Trouble:
    site, number = street.site, street.site.run.scale.flood
    shard = site.here.shard_of(street.victim)
    app_id = await site.here.new_app(lambda other: other != shard)
    await site.here.new_endpoint(app_id, site.receiver.url())
    await site.receiver.ask("reset")
    deed = site.load.ask(
        "http_publish",
        most_s=patience_s(number),
        url=site.here.url,
        key=site.here.key,
        app_id=app_id,
        number=number,
        each=_BULK,
        connections=_BULK_CONNECTIONS,
    )
    return _Trouble(deed=deed, deliveries=number, http=True)


async def _hanging(street: _Street) -> _Trouble:
    site = street.site
    app_id = await site.here.new_app()
    for number in range(_HANGING_ENDPOINTS):
        await site.here.new_endpoint(app_id, site.receiver.url(Kind.HANG, number))
    await site.receiver.ask("reset")
    await site.flood(app_id, number=_HANGING_EVENTS)
    await site.wait_for(_HANGING_ENDPOINTS)
    return _Trouble()


async def _redelivery(street: _Street) -> _Trouble:
    site, number = street.site, street.site.run.scale.letters
    target = await _target(site, site.receiver.url())
    async with site.here.link() as link:
        await seed.letters(link, target, number)
    await site.receiver.ask("reset")
    await site.here.redeliver(target.app_id)
    return _Trouble(deliveries=number)


async def _limited(street: _Street) -> _Trouble:
    site, number = street.site, street.site.run.scale.waiting
    target = await _target(site, site.receiver.url(), rateLimit=_LIMITED_PER_S)
    await site.flood(target.app_id, number=number)
    await _until_owed(site, target, number // 2)
    return _Trouble()


async def _until_owed(site: Site, target: Target, number: int) -> None:
    async with site.here.link() as link:

        async def owed() -> bool:
            return bool(await link.fetchval(_OWED, target.shard, target.app_id) >= number)

        await until(owed, f"{number} deliveries owed", most_s=patience_s(number))


async def _target(site: Site, url: str, **fields: object) -> Target:
    app_id = await site.here.new_app()
    endpoint_id = await site.here.new_endpoint(app_id, url, **fields)
    shard = site.here.shard_of(app_id)
    return Target(app_id=app_id, endpoint_id=endpoint_id, shard=shard, url=url)


async def _clear(street: _Street) -> None:
    """Take a neighbour's leavings away: what is owed, while no dispatcher holds it."""
    here = street.site.here
    await here.kill_dispatchers()
    async with here.link() as link:
        await link.execute("DELETE FROM delivery WHERE due_at IS NOT NULL")
        await link.execute("VACUUM (ANALYZE) delivery, message, attempt")
    await here.start_and_own(1)
    await street.own.warm_up(street.victim)
    await asyncio.sleep(SETTLE_S)


def _figures(name: str, came: list[Arrival], quiet_ms: dict[float, float] | None) -> list[Figure]:
    quiet = quiet_ms or {}
    bound = at_most(quiet[99.0] * _TIMES_QUIET + _SLACK_MS) if quiet_ms else None
    return [
        Figure(
            name=f"{name}: victim's p{part:g}",
            value=latency_ms(came, part),
            unit="ms",
            baseline=quiet.get(part),
            held_to=bound if part == 99.0 else None,
            samples=len(came),
        )
        for part in (50.0, 99.0)
    ]


_QUIET: Final = {False: "quiet", True: "quiet, by HTTP"}
_TROUBLES: Final[Mapping[str, Callable[[_Street], Awaitable[_Trouble]]]] = {
    "flood, another shard": _flood_elsewhere,
    "flood, the same shard": _flood_beside,
    "flood by HTTP, another shard": _flood_by_http,
    "endpoints that hang": _hanging,
    "dead letters redelivered": _redelivery,
    "limited, a backlog waits": _limited,
}
