"""`hookline import svix` from a second gateway, which plays the Svix server: same API."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client

from schema.store.pool import open_pool
from tests.clients import plain_client
from tests.command_line import Said, Shell, on_terminal
from tests.gateway_server import Gateway, another_environment, serve
from tests.receiver import Behaviour, Received, Receiver, Writer, answer, sequence
from tests.services import Services

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TRANSFORMATION = {
    "code": "function handler(webhook) { return webhook; }",
    "enabled": True,
    "variables": {"token": "t0k3n"},
}
OTHER_SECRET = "whsec_MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw"
PRIVATE = (
    "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
)


@lent_to_the_module
async def another_server(services: Services, bus: Client) -> AsyncIterator[Gateway]:
    async with (
        services.database() as url,
        await open_pool(url, size=12) as pool,
        serve(pool, bus) as running,
    ):
        yield running


@lent_to_a_test
async def svix(
    another_server: Gateway, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    """Lend an environment of a server that commands find as Svix's."""
    async with another_environment(another_server) as own:
        monkeypatch.setenv("SVIX_SERVER_URL", own.url)
        monkeypatch.setenv("SVIX_AUTH_TOKEN", own.key)
        assert own.url != gateway.url
        yield own


@lent_to_a_test
async def there(svix: Gateway) -> httpx.AsyncClient:
    return svix.http()


async def do(http: httpx.AsyncClient, method: str, path: str, body: object = None) -> Any:
    """Have one of the servers do something; give its answer."""
    said = await http.request(method, f"/api/v1{path}", json=body)
    assert said.is_success, said.text
    return said.json() if said.content else None


async def a_catalogue(there: httpx.AsyncClient) -> dict[str, Any]:
    """Make an app with one of everything that is copied; give it."""
    await do(there, "PUT", "/event-type/user.created", {
        "description": "new", "schemas": {"1": {"type": "object"}}, "groupName": "users",
    })  # fmt: skip
    await do(there, "PUT", "/event-type/user.left", {"description": "", "deprecated": True})
    made: dict[str, Any] = await do(there, "POST", "/app", {
        "uid": "acme", "name": "Acme", "throttleRate": 20, "metadata": {"plan": "gold"},
    })  # fmt: skip
    await do(there, "POST", "/app/acme/endpoint", {
        "uid": "orders", "url": "http://127.0.0.1:9000/in", "description": "the first",
        "filterTypes": ["user.left", "user.created"], "channels": ["b", "a"], "throttleRate": 7,
        "metadata": {"team": "x"}, "disabled": True, "secret": SECRET,
        "headers": {"X-Tenant": "7", "Authorization": "Bearer hidden"},
    })  # fmt: skip
    await do(there, "PATCH", "/event-type/user.left", {"archived": True})
    await do(there, "PATCH", "/app/acme/endpoint/orders/transformation", TRANSFORMATION)
    return made


async def transformation(http: httpx.AsyncClient) -> dict[str, Any]:
    found = await do(http, "GET", "/app/acme/endpoint/orders/transformation")
    return {name: found[name] for name in TRANSFORMATION}


def kept(thing: dict[str, Any]) -> dict[str, Any]:
    """Give what an import keeps of something that the API shows."""
    own = {"id", "createdAt", "updatedAt", "stateReason"}
    return {name: value for name, value in thing.items() if name not in own}


def counts(said: Said) -> dict[str, dict[str, int]]:
    """Give what was done, without zeros."""
    told = {
        kind: {deed: number for deed, number in by_deed.items() if number}
        for kind, by_deed in said.data["counts"].items()
    }
    return {kind: by_deed for kind, by_deed in told.items() if by_deed}


async def test_all_that_svix_shows_is_kept_and_what_it_hides_is_named(
    shell: Shell, there: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    await a_catalogue(there)

    said = await shell.run("import", "svix")

    assert said.code == 0, said.err
    assert "acme/orders: header Authorization: Svix hides its value; set it by hand" in said.out
    for path in ("/app/acme", "/app/acme/endpoint/orders", "/event-type/user.created",
                 "/event-type/user.left"):  # fmt: skip
        ours, theirs = await do(http, "GET", path), await do(there, "GET", path)
        for thing in (ours, theirs):
            for name in ("eventTypes", "filterTypes", "channels"):
                thing[name] = sorted(thing.get(name) or [])
        assert kept(ours) == kept(theirs)
    assert await do(http, "GET", "/app/acme/endpoint/orders/secret") == {"key": SECRET}
    assert await do(http, "GET", "/app/acme/endpoint/orders/headers") == {
        "headers": {"X-Tenant": "7"}, "sensitive": [],
    }  # fmt: skip
    assert await transformation(http) == TRANSFORMATION


async def test_a_second_run_changes_nothing_and_a_later_one_only_what_differs(
    shell: Shell, there: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    await a_catalogue(there)

    first = await shell.run("import", "svix", "--json")
    await do(
        http, "PATCH", "/app/acme/endpoint/orders/headers", {"headers": {"Authorization": "x"}}
    )
    again = await shell.run("import", "svix", "--json")
    await do(there, "PATCH", "/app/acme/endpoint/orders", {"disabled": False, "channels": None})
    await do(there, "PUT", "/app/acme/endpoint/orders/headers", {"headers": {"X-New": "8"}})
    await do(there, "POST", "/app/acme/endpoint/orders/secret/rotate", {"key": OTHER_SECRET})
    await do(there, "PATCH", "/app/acme/endpoint/orders/transformation", {"enabled": False})
    later = await shell.run("import", "svix", "--json")

    made, same = {"event type": {"made": 2}}, {"event type": {"same": 2}, "app": {"same": 1}}
    assert counts(first) == made | {"app": {"made": 1}, "endpoint": {"made": 1}}
    assert counts(again) == same | {"endpoint": {"same": 1}}
    assert [entry["lost"] for entry in again.data["entries"]] == [[]] * 4  # it was set by hand
    assert counts(later) == same | {"endpoint": {"changed": 1}}
    endpoint = await do(http, "GET", "/app/acme/endpoint/orders")
    assert (endpoint["disabled"], endpoint["channels"]) == (False, None)
    assert await do(http, "GET", "/app/acme/endpoint/orders/headers") == {
        "headers": {"X-New": "8"}, "sensitive": ["Authorization"],
    }  # fmt: skip
    assert await do(http, "GET", "/app/acme/endpoint/orders/secret") == {"key": OTHER_SECRET}
    assert await transformation(http) == TRANSFORMATION | {"enabled": False}


async def test_a_dry_run_says_what_would_be_done_and_writes_nothing(
    shell: Shell, there: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    await a_catalogue(there)

    said = await shell.run("import", "svix", "--dry-run")
    data = await shell.run("import", "svix", "--dry-run", "--json")

    assert said.out.startswith("nothing was done; this is what would be\n")
    assert "header Authorization: Svix hides its value" in said.out
    assert counts(data) == {
        "event type": {"made": 2}, "app": {"made": 1}, "endpoint": {"made": 1},
    }  # fmt: skip
    assert (await do(http, "GET", "/app"))["data"] == []
    assert (await do(http, "GET", "/event-type?include_archived=true"))["data"] == []


async def test_what_has_no_uid_gets_one_of_its_id_and_is_found_again(
    shell: Shell, there: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    app = await do(there, "POST", "/app", {"name": "Nameless"})
    endpoint = await do(
        there, "POST", f"/app/{app['id']}/endpoint", {"url": "http://127.0.0.1:9000/"}
    )

    first = await shell.run("import", "svix", "--json")
    again = await shell.run("import", "svix", "--json", "--app", app["id"])

    path = f"/app/svix-{app['id']}/endpoint/svix-{endpoint['id']}"
    made = await do(http, "GET", path)
    told = {entry["svixId"]: entry["hooklineId"] for entry in first.data["entries"]}
    assert told[endpoint["id"]] == made["id"]
    assert counts(again) == {"app": {"same": 1}, "endpoint": {"same": 1}}


async def test_an_endpoint_may_name_an_event_type_that_was_archived_in_an_earlier_run(
    shell: Shell, there: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    await do(there, "POST", "/app", {"uid": "other", "name": "Other"})
    await a_catalogue(there)

    await shell.run("import", "svix", "--app", "other")
    said = await shell.run("import", "svix", "--json")

    assert counts(said)["endpoint"] == {"made": 1}
    assert (await do(http, "GET", "/event-type/user.left"))["archived"]


async def test_one_that_cannot_be_copied_is_told_and_stops_no_other(
    shell: Shell, svix: Gateway, there: httpx.AsyncClient, http: httpx.AsyncClient
) -> None:
    await do(there, "POST", "/app", {"uid": "acme", "name": "Acme"})
    for uid, secret in (("hmac", SECRET), ("ed25519", PRIVATE), ("elsewhere", SECRET)):
        body = {"uid": uid, "url": "http://127.0.0.1:9000/", "secret": secret}
        await do(there, "POST", "/app/acme/endpoint", body)
    async with svix.pool.acquire() as link:  # what this gateway would not take today
        await link.execute("UPDATE endpoint SET url = 'http://10.0.0.1/' WHERE uid = 'elsewhere'")

    said = await shell.run("import", "svix")

    assert said.code == 1
    assert "endpoint acme/ed25519: it signs with a private key, which Svix does not" in said.out
    assert "endpoint acme/elsewhere: url: " in said.out
    there_now = (await do(http, "GET", "/app/acme/endpoint"))["data"]
    assert [endpoint["uid"] for endpoint in there_now] == ["hmac"]


async def test_limits_and_failures_of_svix_are_waited_for_as_it_asks(
    shell: Shell, svix: Gateway, there: httpx.AsyncClient, receiver: Receiver
) -> None:
    made = await a_catalogue(there)
    (endpoint,) = (await do(there, "GET", "/app/acme/endpoint"))["data"]
    one = f"/api/v1/app/{made['id']}/endpoint/{endpoint['id']}"
    async with plain_client(base_url=svix.url) as behind:
        pass_on = passed_on(behind)
        receiver.script("/", pass_on)
        busy = answer(429, {"Retry-After": "0.3"}, b'{"code": "rate_limited", "detail": ""}')
        receiver.script(f"{one}/secret", sequence(busy, answer(502), pass_on))
        body = b'{"enabled": true, "code": "function handler( {"}'
        receiver.script(f"{one}/transformation", answer(200, body=body))

        said = await shell.run("import", "svix", "--json", "--from-url", receiver.url(""))

    assert said.code == 0, said.err
    asked = [request for request in receiver.requests if request.path == f"{one}/secret"]
    assert len(asked) == 3
    assert asked[1].at - asked[0].at >= 0.3
    (entry,) = (entry for entry in said.data["entries"] if entry["kind"] == "endpoint")
    [lost] = (line for line in entry["lost"] if line.startswith("its transformation: "))
    assert "SyntaxError" in lost


async def test_ctrl_c_ends_it_at_once_also_while_it_waits_and_another_run_goes_on(
    shell: Shell,
    environ: dict[str, str],
    svix: Gateway,
    there: httpx.AsyncClient,
    receiver: Receiver,
) -> None:
    made = await a_catalogue(there)
    async with plain_client(base_url=svix.url) as behind:
        receiver.script("/", passed_on(behind))
        secrets = f"/api/v1/app/{made['id']}/endpoint/"
        receiver.script(secrets, answer(429, {"Retry-After": "100"}, b"{}"))

        async with on_terminal(
            *("import", "svix", "--from-url", receiver.url("")),
            environ={**environ, "SVIX_AUTH_TOKEN": svix.key},
        ) as terminal:
            async with asyncio.timeout(20):
                while not any(one.path.startswith(secrets) for one in receiver.requests):
                    await asyncio.sleep(0.02)
            terminal.type("\x03")
            code = await terminal.ended()
    again = await shell.run("import", "svix", "--json")

    assert (code, "run it again" in terminal.shown) == (130, True)
    assert counts(again)["app"] == {"same": 1}
    assert counts(again)["endpoint"] == {"made": 1}


async def test_a_wrong_key_or_address_shows_at_once(shell: Shell, svix: Gateway) -> None:
    key = await shell.run("import", "svix", "--from-key", "testsk_wrong")
    nowhere = await shell.run("import", "svix", "--from-url", "http://127.0.0.1:1")

    assert (key.code, nowhere.code) == (1, 1)
    assert key.err.startswith("hookline: authentication_failed (401): ")
    assert nowhere.err.startswith("hookline: http://127.0.0.1:1 does not answer")
    assert svix.key not in key.err + nowhere.err


def passed_on(behind: httpx.AsyncClient) -> Behaviour:
    """Behave as the server behind does."""

    async def behave(received: Received, writer: Writer) -> None:
        headers = {"authorization": received.header("authorization") or ""}
        said = await behind.request(received.method, received.target, headers=headers)
        await writer.answer(said.status_code, {"content-type": "application/json"}, said.content)

    return behave
