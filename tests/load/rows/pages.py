"""(i) Pages of the log by the HTTP API, with a great log behind them.

First pages and pages deep in the log, by iterator; 50 rows each, as the API gives them if not told
otherwise.
"""

import random
from collections.abc import AsyncGenerator
from typing import Final

from schema import ids
from tests.load import asking, seed
from tests.load.asking import Kinds
from tests.load.seed import SeededLog, seeded_id
from tests.load.site import Run, opened
from tests.load.table import Figure

_ENDPOINTS: Final = 10
_DAYS: Final = 5
_MOST_MS: Final = 20.0
_SEED: Final = 3  # the same places in every run


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
        for figure in await asking.measure(
            site, kinds, seconds=run.scale.pages_s, most_ms=_MOST_MS
        ):
            yield figure


def _kinds(app_id: str, endpoint_ids: list[str], log: SeededLog) -> Kinds:
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
