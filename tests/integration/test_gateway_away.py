"""What a gateway answers while Postgres or NATS is away, and that it comes back by itself."""

import asyncio

import httpx
from nats.aio.client import Client

from schema.store.link import Pool
from tests.gateway_server import Gateway, serve
from tests.services import Services

PATHS = ("/api/v1/app", "/api/v1/event-type", "/api/v1/app/tenant/endpoint")


async def until_well(gateway: Gateway) -> None:
    async with asyncio.timeout(20), gateway.http() as http:
        while (await http.get("/api/v1/health")).status_code != 200:
            await asyncio.sleep(0.02)


def parts_that_fail(health: httpx.Response) -> set[str]:
    return {part for part, said in health.json().items() if said["status"] != "ok"}


async def test_without_postgres_a_request_is_told_to_come_again_and_soon_it_works(
    pool: Pool, bus: Client, services: Services
) -> None:
    async with serve(pool, bus) as gateway, gateway.http() as http:
        made = await http.post("/api/v1/app", json={"name": "x", "uid": "tenant"})
        assert made.status_code == 201

        await services.postgres.stop()
        try:
            refused = [await http.get(path) for path in PATHS]
            health = await http.get("/api/v1/health")
            ping = await http.get("/api/v1/health/ping")
        finally:
            await services.postgres.start()
        await until_well(gateway)
        worked = [await http.get(path) for path in PATHS]

    for answered in refused:
        assert answered.status_code == 503
        assert answered.json()["code"] == "unavailable"
        assert answered.headers["retry-after"] == "1"
    assert health.status_code == 503
    assert parts_that_fail(health) == {"database", "cache"}
    assert ping.status_code == 204
    assert [answered.status_code for answered in worked] == [200, 200, 200]


async def test_a_change_is_heard_of_after_postgres_was_away(
    pool: Pool, bus: Client, services: Services
) -> None:
    async with serve(pool, bus) as gateway, gateway.http() as http:
        await http.post("/api/v1/app", json={"name": "x", "uid": "tenant"})
        await http.get("/api/v1/app/tenant/endpoint")
        await services.postgres.stop()
        await services.postgres.start()
        await until_well(gateway)
        async with asyncio.timeout(20):
            while not gateway.app.state.parts.apps.cache.hears:
                await asyncio.sleep(0.02)
        assert (await http.get("/api/v1/app/tenant/endpoint")).status_code == 200

        async with pool.acquire() as link:
            await link.execute("UPDATE app SET uid = 'other'")

        async with asyncio.timeout(1.0):
            while (await http.get("/api/v1/app/tenant/endpoint")).status_code != 404:
                await asyncio.sleep(0.005)


async def test_without_nats_configuration_goes_on(
    pool: Pool, bus: Client, services: Services
) -> None:
    async with serve(pool, bus) as gateway, gateway.http() as http:
        app = (await http.post("/api/v1/app", json={"name": "x"})).json()["id"]
        path = f"/api/v1/app/{app}/endpoint"
        url = "https://a.example.com/"
        endpoint = (await http.post(path, json={"url": url})).json()["id"]

        await services.nats.stop()
        try:
            async with asyncio.timeout(10):
                while (health := await http.get("/api/v1/health")).status_code == 200:
                    await asyncio.sleep(0.02)
            changed = await http.patch(f"{path}/{endpoint}", json={"disabled": True})
        finally:
            await services.nats.start()
        await until_well(gateway)

    assert parts_that_fail(health) == {"queue"}
    assert (changed.status_code, changed.json()["disabled"]) == (200, True)
