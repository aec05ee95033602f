"""A rate limit is never exceeded, whichever processes send, and what is over it is delayed."""

import asyncio
from collections.abc import Sequence

from svix.api import ApplicationOut, MessageStatus

from tests.acceptance.world import TYPE, World, until
from tests.lateness import measured_lateness, shortest_window_s
from tests.receiver import Received

RATE = 10


def of_paths(came: Sequence[Received], *paths: str) -> list[Received]:
    return [one for one in came if one.path in paths]


async def test_limits_of_endpoints_and_apps_hold_across_two_dispatchers(world: World) -> None:
    per_endpoint = [await world.app() for _ in range(4)]
    per_app = [await world.app(throttle_rate=RATE) for _ in range(4)]
    for number, app in enumerate(per_endpoint):
        await world.endpoint(app, f"/limited/{number}", throttle_rate=RATE)
        await world.endpoint(app, f"/free/{number}")
    for number, app in enumerate(per_app):
        await world.endpoint(app, f"/first/{number}")
        await world.endpoint(app, f"/second/{number}")

    async with measured_lateness() as lateness:
        await asyncio.gather(
            *(_flood(world, app, by_http=12, by_nats=13) for app in per_endpoint),
            *(_flood(world, app, by_http=6, by_nats=6) for app in per_app),
        )
        came = await world.receiver.wait_for(4 * 50 + 4 * 24, timeout=15)

    for number in range(4):
        limited = of_paths(came, f"/limited/{number}")
        together = of_paths(came, f"/first/{number}", f"/second/{number}")
        assert (len(limited), len(together)) == (25, 24)
        for held in (limited, together):
            assert shortest_window_s(held, RATE) >= 1.0 - lateness.worst_s
            assert max(one.at for one in held) - min(one.at for one in held) < 2.0 + 1.5
    for app in (*per_endpoint, *per_app):
        await _all_delivered_at_the_first_attempt(world, app)


async def test_what_waits_for_its_turn_is_charged_no_attempt(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/slow", throttle_rate=1)

    messages = [await world.publish(app) for _ in range(3)]

    await world.receiver.wait_for(1)
    assert await world.attempts(app, messages[2].id) == []
    assert await world.standing(app, messages[2].id) == {endpoint.id: MessageStatus.PENDING}
    came = await world.receiver.wait_for(3)
    assert [one.header("webhook-id") for one in came] == [one.id for one in messages]


async def _flood(world: World, app: ApplicationOut, *, by_http: int, by_nats: int) -> None:
    """Publish through both gateways and the stream, there partly by the app's uid."""
    for number in range(max(by_http, by_nats)):
        if number < by_http:
            await world.publish(app, {"number": number}, gate=number % 2)
        if number < by_nats:
            name = (app.id, app.uid)[number % 2]
            await world.publish_on_nats(f"events.{name}.{TYPE}", b"{}")


async def _all_delivered_at_the_first_attempt(world: World, app: ApplicationOut) -> None:
    for endpoint in (await world.svix.endpoint.list(app.id)).data:

        async def delivered(endpoint: str = endpoint.id) -> bool:
            path = f"/api/v1/app/{app.id}/endpoint/{endpoint}/msg"
            page = (await world.http.get(path, params={"limit": 250})).json()["data"]
            return {(one["statusText"], one["attempts"]) for one in page} == {("success", 1)}

        await until(delivered)
