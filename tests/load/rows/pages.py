"""(i) Pages of the log by the HTTP API, with a great log behind them.

First pages and pages deep in the log, by iterator; 50 rows each, as the API gives them if not told
otherwise. Requests come at a constant rate, and count from when they were to be sent. The baseline
is the health check at the same rate: what a request costs that reads next to nothing.
"""

import random
from collections.abc import AsyncGenerator, Callable
from typing import Final

from schema import ids
from tests.load import seed
from tests.load.arithmetic import percentile
from tests.load.seed import SeededLog, seeded_id
from tests.load.site import Run, Site, opened
from tests.load.table import Figure, at_most

_ENDPOINTS: Final = 10
_DAYS: Final = 5
_RATE: Final = 50.0
_CONNECTIONS: Final = 8
_PATIENCE_S: Final = 60.0
_MOST_MS: Final = 20.0
_SEED: Final = 3  # the same places in every run
_HEALTH: Final = "/api/v1/health/"


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Make the log, warm up, and ask for pages of every kind in turn."""
    async with opened(run) as site:
        here = site.here
        app_id = await here.new_app()
        endpoint_ids = [
            await here.new_endpoint(app_id, site.receiver.url(endpoint=number))
            for number in range(_ENDPOINTS)
        ]
        log = await seed.log(
            here.database_url, app_id, endpoint_ids, attempts=run.scale.attempts, days=_DAYS
        )
        kinds = _kinds(app_id, endpoint_ids, log)
        number = round(_RATE * run.scale.pages_s)
        await _latencies(site, [path() for path in kinds.values() for _ in range(_ENDPOINTS)])
        floor = await _latencies(site, [_HEALTH] * (number // len(kinds)))
        names = list(kinds)
        wanted = [names[place % len(names)] for place in range(number)]
        took_ms = await _latencies(site, [kinds[name]() for name in wanted])
        by_kind = dict[str, list[float]]()
        for name, ms in zip(wanted, took_ms, strict=True):
            by_kind.setdefault(name, []).append(ms)
        for name in names:
            yield Figure(
                name=f"{name}, p99",
                value=percentile(by_kind[name], 99),
                unit="ms",
                baseline=percentile(floor, 99),
                held_to=at_most(_MOST_MS),
                samples=len(by_kind[name]),
            )


def _kinds(app_id: str, endpoint_ids: list[str], log: SeededLog) -> dict[str, Callable[[], str]]:
    """Give what makes the path of a page, by the kind of page."""
    dice = random.Random(_SEED)
    base = f"/api/v1/app/{app_id}"

    def message_id() -> str:
        return seeded_id(ids.MESSAGE, dice.choice(log.moments), dice.randrange(1, log.messages))

    def attempt_id() -> str:
        place = dice.randrange(_ENDPOINTS, log.messages * _ENDPOINTS)
        return seeded_id(ids.ATTEMPT, dice.choice(log.moments), place)

    def of_endpoint() -> str:
        return f"{base}/attempt/endpoint/{dice.choice(endpoint_ids)}"

    return {
        "messages of an app, first": lambda: f"{base}/msg",
        "messages of an app, deep": lambda: f"{base}/msg?iterator={message_id()}",
        "attempts to an endpoint, first": of_endpoint,
        "attempts to an endpoint, deep": lambda: f"{of_endpoint()}?iterator={attempt_id()}",
        "failures of an endpoint, deep": (
            lambda: f"{of_endpoint()}?status=2&iterator={attempt_id()}"
        ),
        "attempts of a message": lambda: f"{base}/attempt/msg/{message_id()}",
    }


async def _latencies(site: Site, paths: list[str]) -> list[float]:
    told = await site.load.ask(
        "http_paced",
        most_s=len(paths) / _RATE + _PATIENCE_S,
        url=site.here.url,
        key=site.here.key,
        paths=paths,
        rate=_RATE,
        connections=_CONNECTIONS,
    )
    return list(told["latencies_ms"])
