"""(k) Dead letters: pages and groups with many behind them, and what redelivers them.

The letters are of one app: of several endpoints, several kinds of failures each. They are
redelivered by a task, as a person asks for it by the API: flat out, and to an endpoint with a
limit.
"""

import random
from collections.abc import AsyncGenerator
from typing import Final

from tests.load import asking, seed
from tests.load.arithmetic import most_in_a_second, use_of_rate
from tests.load.asking import Kinds
from tests.load.delivering import figures, redelivered
from tests.load.seed import Target
from tests.load.site import Run, Site, opened
from tests.load.table import Figure, at_least, at_most

_ENDPOINTS: Final = 20
_KINDS: Final = 5  # of failures at each
_MOST_MS: Final = 50.0
_LIMIT: Final = 500  # deliveries a second
_LEAST_USE: Final = 98.0  # per cent
_SPARSE: Final = (
    "letters by what none has",
    "letters of all apps by what none has",
    "letters by their answer",
    "letters by their payload",
)
_SEED: Final = 5  # the same places in every run


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Measure pages, then redeliveries."""
    async with opened(run) as site:
        app_id = await site.here.new_app()
        targets = [await _target(site, app_id, number) for number in range(_ENDPOINTS)]
        each = run.scale.dead // _ENDPOINTS
        async with site.here.link() as link:
            for place, target in enumerate(targets):
                await seed.letters(link, target, each, first=place * each, kinds=_KINDS)
            groups = await link.fetch("SELECT id FROM dead_letter_group WHERE app_id = $1", app_id)
        kinds = _kinds(app_id, targets, [row["id"] for row in groups], run.scale.dead)
        for figure in await asking.measure(
            site, kinds, seconds=run.scale.pages_s, most_ms=_MOST_MS, sparse=_SPARSE
        ):
            yield figure
        await site.here.start_and_own(1)
        for figure in await _flat_out(site):
            yield figure
        for figure in await _limited(site):
            yield figure


async def _target(site: Site, app_id: str, number: int = 0, **fields: object) -> Target:
    url = site.receiver.url(endpoint=number)
    endpoint_id = await site.here.new_endpoint(app_id, url, **fields)
    shard = site.here.shard_of(app_id)
    return Target(app_id=app_id, endpoint_id=endpoint_id, shard=shard, url=url)


def _kinds(app_id: str, targets: list[Target], groups: list[str], letters: int) -> Kinds:
    dice = random.Random(_SEED)
    base = f"/api/v1/app/{app_id}/dead-letter"

    def letter_id() -> str:
        return seed.letter_id(dice.randrange(letters))

    def endpoint_id() -> str:
        return dice.choice(targets).endpoint_id

    return {
        "letters of an app, first": lambda: base,
        "letters of an app, deep": lambda: f"{base}?iterator={letter_id()}",
        "letters of an endpoint": lambda: f"{base}?endpoint_id={endpoint_id()}",
        "letters of a group": lambda: f"{base}?group={dice.choice(groups)}",
        "letters by class and status": (
            lambda: f"{base}?error_class=http_5xx&status_code={500 + dice.randrange(_KINDS)}"
        ),
        "letters by what none has": lambda: f"{base}?status_code=418",
        "letters by their answer": lambda: f"{base}?text=order%20{dice.randrange(letters)}%22",
        "letters by their payload": lambda: f"{base}?payload_path=$.nothing",
        "letters of all apps": lambda: f"/api/v1/dead-letter?iterator={letter_id()}",
        "letters of all apps by what none has": lambda: "/api/v1/dead-letter?status_code=418",
        "groups, the last seen first": lambda: f"{base}-group",
        "groups, the most first": lambda: f"{base}-group?order_by=count",
        "how many of an endpoint": lambda: f"{base}/count?endpoint_id={endpoint_id()}",
    }


async def _flat_out(site: Site) -> list[Figure]:
    """Redeliver to an endpoint without a limit."""
    app_id, number = await site.here.new_app(), site.run.scale.letters
    async with site.here.link() as link:
        await seed.letters(link, await _target(site, app_id), number)
    await site.warm_up(await site.here.with_endpoint(site.receiver.url()))
    done = await redelivered(site, app_id, number)
    return figures("redelivered", done, site.run.stock, parts=("postgres",))


async def _limited(site: Site) -> list[Figure]:
    """Redeliver to an endpoint with a limit."""
    app_id, number = await site.here.new_app(), round(_LIMIT * site.run.scale.rate_s)
    async with site.here.link() as link:
        await seed.letters(link, await _target(site, app_id, rateLimit=_LIMIT), number)
    await site.receiver.ask("reset")
    await site.here.redeliver(app_id)
    await site.wait_for(number)
    times_ns = [one.arrival_ns for one in await site.receiver.arrivals(site.run.directory)]
    return [
        Figure(
            name=f"redelivered, limit of {_LIMIT}/s: most in any second",
            value=most_in_a_second(times_ns),
            unit="",
            held_to=at_most(_LIMIT),
        ),
        Figure(
            name=f"redelivered, limit of {_LIMIT}/s: used",
            value=use_of_rate(times_ns, _LIMIT) * 100,
            unit="%",
            held_to=at_least(_LEAST_USE),
        ),
    ]
