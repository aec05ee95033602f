"""Looks at how endpoints fare now and then, by one dispatcher at a time.

A look goes by the counts per minute and by what it knew, all of it in Postgres: sending does
nothing for it, and nothing is forgotten by a restart. It is one transaction, with what is told of
it. When somebody changes an endpoint at the same moment, it is given up; the next comes soon.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from dispatcher.parts import Parts
from dispatcher.rounds import rounds
from schema.health import Health, HealthState, Look, Patience, Recent, Why, disable_at, look
from schema.ids import shard_of
from schema.operational import Kind
from schema.store import alert_mail, operational, wake
from schema.store import health as store
from schema.store.alert_mail import Disabled
from schema.store.health import Place
from schema.store.link import Link, Pool

EVERY_S: Final = 15.0
_ALL_PATIENCE: Final = Patience.of_days(0, 0)


class Watch:
    """Says which endpoints are degraded or failing, and disables those that fail for days."""

    def __init__(self, given: Parts) -> None:
        """Look at nothing yet."""
        self._pool: Pool = given.pool
        self._clock: Callable[[], datetime] = given.clock
        self._shards = given.shards
        self._disabled = given.metrics.disabled
        config = given.config
        self._mail_pause_s = config.mail_pause_s if config.mail is not None else None
        self._patience = Patience.of_days(config.disable_after_days, config.disable_warning_days)

    async def run(self) -> None:
        """Look at all endpoints, for ever."""
        await rounds("looking at endpoints' health", self.once, pause_s=EVERY_S)

    async def once(self) -> bool:
        """Look at all endpoints, unless another process is at it. There is never more to do."""
        now = self._clock()
        number = 0
        async with (
            self._pool.acquire() as link,
            link.transaction(isolation="repeatable_read"),
        ):
            if await store.try_lock(link):
                number = await self._look(link, now)
        self._disabled.inc(number)
        return False

    async def _look(self, link: Link, now: datetime) -> int:
        """Look, write and tell; give how many endpoints were disabled."""
        known = await store.known(link)
        tried = await store.tried(link, now)
        looks = self._judged(known, tried, now)
        looks |= await self._doubted(link, known, looks, now)
        looks |= await self._spared(link, known, tried, looks, now)
        news = {place: look for place, look in looks.items() if look.health != known.get(place)}
        news |= {place: look for place, look in looks.items() if look.disables}
        if not news:
            return 0
        held = await store.hold(link, news)
        news = {place: look for place, look in news.items() if place in held}
        await store.write(link, held, news, now)
        await self._tell(link, known, news)
        ended = {place: look for place, look in news.items() if look.disables}
        await self._disable(link, ended, now)
        return len(ended)

    def _judged(
        self, known: Mapping[Place, Health], tried: Mapping[Place, Recent], now: datetime
    ) -> dict[Place, Look]:
        return {
            place: look(known.get(place, Health()), tried.get(place, Recent()), self._patience, now)
            for place in known.keys() | tried.keys()
        }

    async def _doubted(
        self,
        link: Link,
        known: Mapping[Place, Health],
        looks: Mapping[Place, Look],
        now: datetime,
    ) -> dict[Place, Look]:
        """Look again at those that are to be warned or disabled, if a success was written late."""
        grave = {
            place: look.health.streak
            for place, look in looks.items()
            if (look.warns or look.disables) and look.health.streak is not None
        }
        good = await store.good(link, grave) if grave else {}
        return {
            place: look(
                replace(known.get(place, Health()), streak=None, warned_at=None),
                Recent(delivered=1, good_at=at),
                self._patience,
                now,
            )
            for place, at in good.items()
        }

    async def _spared(
        self,
        link: Link,
        known: Mapping[Place, Health],
        tried: Mapping[Place, Recent],
        looks: Mapping[Place, Look],
        now: datetime,
    ) -> dict[Place, Look]:
        """Look with all patience at those whose environment disables no endpoint by itself."""
        grave = {place for place, look in looks.items() if look.warns or look.disables}
        places = await store.spared(link, grave) if grave else set()
        return {
            place: look(known.get(place, Health()), tried.get(place, Recent()), _ALL_PATIENCE, now)
            for place in places
        }

    async def _tell(
        self, link: Link, known: Mapping[Place, Health], looks: Mapping[Place, Look]
    ) -> None:
        for kind, chosen in (
            (Kind.ENDPOINT_FAILING, _where(looks, lambda one: one.why is Why.ONLY_FAILURES)),
            (Kind.ENDPOINT_RECOVERED, _where(looks, lambda one: one.why is Why.DELIVERED)),
            (Kind.ENDPOINT_DISABLING, _where(looks, lambda one: one.warns)),
        ):
            said = [(*place, self._said(known.get(place), looks[place])) for place in chosen]
            await operational.note_endpoints(link, kind, said)

    def _said(self, known: Health | None, found: Look) -> dict[str, object]:
        streak = found.health.streak
        if found.health.state is not HealthState.FAILING:
            streak = known.streak if known else None
            return {"state": found.health.state, "failSince": streak and streak.since}
        at = disable_at(streak, found.health.warned_at, self._patience)
        return {
            "failSince": streak and streak.since,
            "failures": streak and streak.failures,
            "disableAt": at,
        }

    async def _disable(self, link: Link, looks: Mapping[Place, Look], now: datetime) -> None:
        if not looks:
            return
        await store.disable(link, looks, Why.FAILING, now)
        for place in looks:
            shard = shard_of(place.app_id, self._shards)
            await wake.add(link, shard, place.app_id, [place.endpoint_id])
        about = {"trigger": "automatic", "reason": Why.FAILING}
        streaks = {place: look.health.streak for place, look in looks.items()}
        await operational.note_endpoints(
            link,
            Kind.ENDPOINT_DISABLED,
            [
                (*place, about | {"failSince": streak and streak.since})
                for place, streak in streaks.items()
            ],
        )
        if self._mail_pause_s is not None:
            ended = [
                Disabled(*place, Why.FAILING, streak.since if streak else None)
                for place, streak in streaks.items()
            ]
            await alert_mail.note_disabled(link, ended, pause_s=self._mail_pause_s)


def _where(looks: Mapping[Place, Look], wanted: Callable[[Look], bool]) -> Iterable[Place]:
    return [place for place, found in looks.items() if wanted(found)]
