"""What was accepted compared with what arrived, what the log says and what was counted."""

import json
from collections import defaultdict

import asyncpg
from svix.api import ApplicationOut, EndpointMessageOut, EndpointOut, MessageStatus

from tests.acceptance.test_rate_limits import of_paths
from tests.acceptance.world import Load, World, until


async def what_was_accepted_was_counted(world: World, app: ApplicationOut) -> None:
    """Compare the deliveries that were counted as accepted with those that there are."""
    link = await asyncpg.connect(world.here.database_url)
    try:
        row = await link.fetchrow(
            """SELECT coalesce((SELECT sum(accepted) FROM reconciliation WHERE app_id = $1), 0)
                      + coalesce((SELECT sum(number) FROM fanned_out, unnest(app_ids, numbers)
                                  AS u(app_id, number) WHERE u.app_id = $1), 0),
                      (SELECT count(*) FROM delivery WHERE app_id = $1)""",
            app.id,
        )
        assert row is not None
        assert row[0] == row[1] > 0
    finally:
        await link.close()


async def nothing_is_missing(
    world: World, app: ApplicationOut, endpoints: list[EndpointOut], load: Load
) -> None:
    """Compare what was accepted with what the receiver got and with what the log says."""
    paths = {endpoint.url.rpartition("/")[2] for endpoint in endpoints}

    def arrived(path: str) -> dict[int, set[str]]:
        found: defaultdict[int, set[str]] = defaultdict(set)
        for one in of_paths(world.receiver.requests, f"/{path}"):
            found[json.loads(one.body)["number"]].add(one.header("webhook-id") or "")
        return found

    async def all_arrived() -> bool:
        return all(load.accepted.keys() <= arrived(path).keys() for path in paths)

    await until(all_arrived, within_s=30, every_s=0.1)
    for endpoint in endpoints:

        async def all_delivered(endpoint: EndpointOut = endpoint) -> list[EndpointMessageOut]:
            stored = {one.id for one in await world.every_message(app)}
            log = await world.every_message_of(app, endpoint)
            well = {one.id for one in log if one.status is MessageStatus.SUCCESS} == stored
            return log if well else []

        logged = await until(all_delivered, every_s=0.1)
        came = arrived(endpoint.url.rpartition("/")[2])
        assert {one.payload["number"]: {one.id} for one in logged} == came
        assert load.accepted.keys() <= came.keys() <= load.tried
        for number, message_id in load.accepted.items():
            assert message_id is None or came[number] == {message_id}
