"""Health and metrics say how the installation is."""

from svix.api import MessageStatus

from tests.acceptance.world import World, until
from tests.receiver import answer

WELL = {"database": {"status": "ok"}, "queue": {"status": "ok"}, "cache": {"status": "ok"}}


async def test_health_is_ok_without_a_key(world: World) -> None:
    await world.svix.health.get()
    for gate in world.gates:
        for path in ("/api/v1/health", "/api/v1/health/"):
            answered = await gate.http.get(path, headers={"authorization": ""})

            assert (answered.status_code, answered.json()) == (200, WELL)
        ping = await gate.http.head("/api/v1/health/ping")
        assert (ping.status_code, ping.content) == (204, b"")


async def test_health_says_what_is_away(breakable_world: World) -> None:
    world = breakable_world
    await world.here.kill("nats")

    async def unwell() -> bool:
        answered = await world.http.get("/api/v1/health")
        shown = answered.json()
        return answered.status_code == 503 and shown["queue"]["status"] == "error"

    await until(unwell)
    await world.here.start("nats")

    async def well() -> bool:
        return (await world.http.get("/api/v1/health")).json() == WELL

    await until(well)


async def test_metrics_count_what_was_done(world: World) -> None:
    app = await world.app()
    world.receiver.script("/dead", answer(500))
    fine = await world.endpoint(app, "/fine")
    dead = await world.endpoint(app, "/dead", waits_s=())
    before = await _metrics(world)

    for _ in range(5):
        message = await world.publish(app)
        await world.stands(
            app, message.id, {fine.id: MessageStatus.SUCCESS, dead.id: MessageStatus.FAIL}
        )

    wanted = {
        'hookline_accepted_total{door="http"}': 5,
        'hookline_attempts_total{verdict="delivered"}': 5,
        'hookline_attempts_total{verdict="park"}': 5,
        "hookline_first_attempt_seconds_count": 10,
        "hookline_accept_seconds_count": 5,
    }

    async def counted() -> bool:
        now = await _metrics(world)
        return {name: now.get(name, 0) - before.get(name, 0) for name in wanted} == wanted

    await until(counted)

    async def parked() -> bool:
        shown = await _metrics(world)
        return shown["hookline_dead_letters_parked"] >= 5

    await until(parked)
    shown = await _metrics(world)
    assert shown['hookline_reachable{part="postgres"}'] == 1
    assert shown['hookline_reachable{part="nats"}'] == 1
    for name in (
        "hookline_deliveries_owed",
        "hookline_oldest_due_seconds",
        "hookline_stream_lag",
        "hookline_stream_events",
    ):
        assert shown[name] >= 0


async def _metrics(world: World) -> dict[str, float]:
    """Read what Prometheus would scrape."""
    answered = await world.http.get("/metrics", headers={"authorization": ""})
    lines = (line for line in answered.text.splitlines() if line and not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
