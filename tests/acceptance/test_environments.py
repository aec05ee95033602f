"""Two environments see nothing of each other."""

from svix.api import MessageStatus

from tests.acceptance.world import TYPE, World
from tests.receiver import answer

EVENT = {"eventType": TYPE, "payload": {}}


async def test_what_one_environment_has_is_not_there_for_the_other(world: World) -> None:
    one, other = await world.elsewhere(), await world.elsewhere()
    world.receiver.script("/dead", answer(500))
    app = await one.app()
    await one.event_types(TYPE)
    endpoint = await one.endpoint(app, "/dead", waits_s=())
    message = await one.publish(app, event_id="event-1")
    letter = await one.letter(app)
    [attempt] = await one.attempts(app, message.id)
    calls = [
        call
        for ref in (app.id, app.uid)
        for call in _calls(f"/api/v1/app/{ref}", endpoint.id, message.id, attempt.id, letter["id"])
    ]

    answers = {
        f"{method} {path}": await other.http.request(method, path, json=body)
        for method, path, body in calls
    }

    assert {call: found.status_code for call, found in answers.items()} == dict.fromkeys(
        answers, 404
    )
    assert {found.json()["code"] for found in answers.values()} == {"not_found"}
    assert (await other.http.get(f"/api/v1/event-type/{TYPE}")).status_code == 404
    for path in ("app", "event-type", "rejected-event"):
        assert (await other.http.get(f"/api/v1/{path}")).json()["data"] == []
    assert await one.standing(app, message.id) == {endpoint.id: MessageStatus.FAIL}
    assert len(world.receiver.requests) == 1


def _calls(
    app: str, endpoint: str, message: str, attempt: str, letter: str
) -> list[tuple[str, str, object]]:
    """Name everything that can be asked of an app."""
    return [
        ("GET", app, None),
        ("PATCH", app, {"name": "mine"}),
        ("DELETE", app, None),
        ("GET", f"{app}/endpoint", None),
        ("POST", f"{app}/endpoint", {"url": "https://example.com"}),
        ("GET", f"{app}/endpoint/{endpoint}", None),
        ("PUT", f"{app}/endpoint/{endpoint}", {"url": "https://example.com"}),
        ("PATCH", f"{app}/endpoint/{endpoint}", {"description": "mine"}),
        ("DELETE", f"{app}/endpoint/{endpoint}", None),
        ("GET", f"{app}/endpoint/{endpoint}/secret", None),
        ("POST", f"{app}/endpoint/{endpoint}/secret/rotate", {}),
        ("GET", f"{app}/endpoint/{endpoint}/headers", None),
        ("PUT", f"{app}/endpoint/{endpoint}/headers", {"headers": {}}),
        ("GET", f"{app}/endpoint/{endpoint}/stats", None),
        ("GET", f"{app}/endpoint/{endpoint}/msg", None),
        ("GET", f"{app}/msg", None),
        ("POST", f"{app}/msg", EVENT),
        ("GET", f"{app}/msg/{message}", None),
        ("GET", f"{app}/msg/event-1", None),
        ("DELETE", f"{app}/msg/{message}/content", None),
        ("GET", f"{app}/msg/{message}/endpoint", None),
        ("POST", f"{app}/msg/{message}/endpoint/{endpoint}/resend", None),
        ("GET", f"{app}/msg/{message}/attempt/{attempt}", None),
        ("DELETE", f"{app}/msg/{message}/attempt/{attempt}/content", None),
        ("GET", f"{app}/attempt/endpoint/{endpoint}", None),
        ("GET", f"{app}/attempt/msg/{message}", None),
        ("GET", f"{app}/dead-letter", None),
        ("GET", f"{app}/dead-letter/{letter}", None),
        ("POST", f"{app}/dead-letter/{letter}/redeliver", None),
        ("POST", f"{app}/dead-letter/{letter}/discard", None),
    ]


async def test_an_id_of_one_environment_means_nothing_under_an_app_of_the_other(
    world: World,
) -> None:
    one, other = await world.elsewhere(), await world.elsewhere()
    world.receiver.script("/dead", answer(500))
    app, theirs = await one.app(), await other.app()
    endpoint = await one.endpoint(app, "/dead", waits_s=())
    message = await one.publish(app)
    letter = await one.letter(app)
    [attempt] = await one.attempts(app, message.id)
    path = f"/api/v1/app/{theirs.id}"
    calls = _calls(path, endpoint.id, message.id, attempt.id, letter["id"])
    # Lists of an app's own, and a PUT on an unknown id makes a new endpoint, as Svix does.
    own = {path, f"{path}/endpoint", f"{path}/msg", f"{path}/dead-letter"}

    answers = {
        f"{method} {path}": (await other.http.request(method, path, json=body)).status_code
        for method, path, body in calls
        if path not in own and method != "PUT"
    }

    assert answers == dict.fromkeys(answers, 404)
    assert len(world.receiver.requests) == 1


async def test_the_same_uid_names_an_app_of_each_environment(world: World) -> None:
    one, other = await world.elsewhere(), await world.elsewhere()
    apps = [await one.app("acme"), await other.app("acme")]
    await one.endpoint(apps[0], "/one")
    await other.endpoint(apps[1], "/other")

    posted = [await env.http.post("/api/v1/app/acme/msg", json=EVENT) for env in (one, other)]

    ids = [answered.json()["id"] for answered in posted]
    [to_one] = await world.receiver.wait_for(1, path="/one")
    [to_other] = await world.receiver.wait_for(1, path="/other")
    assert [to_one.header("webhook-id"), to_other.header("webhook-id")] == ids


async def test_a_key_of_one_environment_cannot_choose_another(world: World) -> None:
    one, other = await world.elsewhere(), await world.elsewhere()
    header = one.http.headers["authorization"]

    chosen = await one.http.get(
        "/api/v1/app", headers={"authorization": f"{header}|{other.environment_id}"}
    )
    by_operator = await world.http.get(
        "/api/v1/app",
        headers={"authorization": f"Bearer {world.here.key}|{other.environment_id}"},
    )

    assert (chosen.status_code, by_operator.status_code) == (401, 200)
