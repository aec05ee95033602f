"""Access tokens: asked for once, kept, renewed, refused; whoever hangs, dies or sets them anew."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import pytest_asyncio
from nats.aio.client import Client

from dispatcher import tokens as module
from dispatcher.egress import Proxy, ProxyKind
from dispatcher.fault import DeliveryFault
from dispatcher.guard import Guard
from dispatcher.oauth import OauthClient
from dispatcher.parts import Parts
from dispatcher.tokens import Token, Tokens
from dispatcher.transport import Transport
from schema import ids
from schema.address import check_url
from schema.delivery import Fault
from schema.oauth import GrantType
from schema.store.endpoint_oauth import Place
from schema.store.link import Pool
from signer.tls import client_context
from tests.authorization import (
    AuthorizationServer,
    Held,
    a_config,
    kept_refresh_token,
    refusing,
    set_oauth,
)
from tests.dispatching import (
    LOOPBACK,
    VAULT,
    World,
    config,
    dispatching,
    eventually,
    now,
    parts,
    publish,
)
from tests.listener import HOST
from tests.receiver import Receiver, answer, hang, sequence
from tests.services import Services

TLS = client_context()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[AuthorizationServer]:
    async with AuthorizationServer() as listening:
        yield listening


@pytest.fixture
def short_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAP_S", 0.2)


@pytest.fixture
def long_gaps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GAP_S", 30.0)


async def an_endpoint(
    world: World, receiver: Receiver, server: AuthorizationServer, **changes: object
) -> tuple[str, str]:
    """Make an endpoint whose requests have tokens; give its app and itself."""
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, receiver.url("/hook"), policy=[0.05] * 20)
    await set_oauth(world.pool, app_id, endpoint_id, server.token_url, **changes)
    return app_id, endpoint_id


def shown(receiver: Receiver) -> list[str | None]:
    """Give the credentials of each request."""
    return [request.header("authorization") for request in receiver.requests]


# With a dispatcher


@pytest.mark.usefixtures("stream")
async def test_requests_carry_a_token_and_not_the_endpoints_own_credentials(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, endpoint_id = await an_endpoint(world, receiver, server, scopes=("hooks",))
    plain_id = await world.endpoint(app_id, receiver.url("/plain"))
    headers = b'{"X-Own": "1", "authorization": "Basic b3du"}'
    for ident in (endpoint_id, plain_id):
        await world.pool.execute(
            "UPDATE endpoint SET headers = $2 WHERE id = $1",
            ident,
            VAULT.seal(headers, context=f"{app_id}/{ident}".encode()),
        )
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await world.settled(2)

    [hooked] = await receiver.wait_for(1, path="/hook")
    [plain] = await receiver.wait_for(1, path="/plain")
    assert (hooked.header("authorization"), hooked.header("x-own")) == ("Bearer t1", "1")
    assert plain.header("authorization") == "Basic b3du"
    assert server.forms == [
        {
            "grant_type": "client_credentials",
            "scope": "hooks",
            "client_id": "hookline",
            "client_secret": "s3cret",
        }
    ]


@pytest.mark.usefixtures("stream")
async def test_however_many_wait_for_a_token_it_is_asked_for_once(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, _ = await an_endpoint(world, receiver, server)
    held = Held(server.giving())
    server.script("/token", held)
    async with dispatching(world.pool, services.nats_url) as running:
        await asyncio.gather(*(publish(bus, app_id) for _ in range(100)))
        await eventually(lambda: running.dispatcher._schedule.in_flight == 16)
        held.gate.set()
        await world.settled(100)

    assert len(server.requests) == 1
    assert shown(receiver) == ["Bearer t1"] * 100


@pytest.mark.usefixtures("stream")
async def test_a_token_that_the_endpoint_does_not_take_is_used_no_more(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, _ = await an_endpoint(world, receiver, server)
    receiver.script("/hook", sequence(answer(), answer(401), answer()))
    async with dispatching(world.pool, services.nats_url):
        for number in range(1, 3):
            await publish(bus, app_id)
            await world.settled(number)

    assert shown(receiver) == ["Bearer t1", "Bearer t1", "Bearer t2"]
    assert [row["status"] for row in await world.attempts()] == [200, 401, 200]


@pytest.mark.usefixtures("stream")
async def test_for_an_endpoint_that_takes_no_token_at_all_few_are_asked_for(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, _ = await an_endpoint(world, receiver, server)
    receiver.script("/hook", answer(401))
    async with dispatching(world.pool, services.nats_url):
        await asyncio.gather(*(publish(bus, app_id) for _ in range(5)))
        states = await world.settled(5, within_s=20)

    assert states == {"dead": 5}
    assert len(receiver.requests) == 105
    asked_at = [request.at for request in server.requests]
    gaps = [later - before for before, later in pairwise(asked_at)]
    assert gaps, "the first that was refused is dropped at once"
    assert all(gap > module.GAP_S / 2 for gap in gaps[1:]), gaps
    assert all(gap > module.GAP_S for gap in gaps[2:]), gaps


@pytest.mark.usefixtures("stream", "short_gaps")
async def test_without_a_token_nothing_is_sent_and_the_log_says_why(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, _ = await an_endpoint(world, receiver, server)
    server.script("/token", sequence(refusing(), server.giving()))
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await world.settled(1)

    first, second = await world.attempts()
    assert (first["status"], first["fault"], first["verdict"]) == (None, "oauth", "retry")
    assert first["detail"] == (
        "no access token: the authorization server answered 400, invalid_client"
    )
    assert (second["status"], second["verdict"]) == (200, "delivered")
    assert (second["started_at"] - first["started_at"]).total_seconds() >= module.GAP_S
    assert len(receiver.requests) == 1


@pytest.mark.usefixtures("stream")
async def test_what_is_given_up_for_want_of_a_token_is_a_letter_of_that_class(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, endpoint_id = await an_endpoint(world, receiver, server)
    await world.pool.execute("UPDATE endpoint SET retry_policy = '[]' WHERE id = $1", endpoint_id)
    server.script("/token", answer(500))
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await world.settled(1)

    [letter] = await world.letters()
    assert (letter["error_class"], letter["fault"]) == ("oauth", "oauth")


@pytest.mark.usefixtures("stream", "short_gaps")
async def test_a_dead_authorization_server_is_left_alone_and_so_are_the_attempts(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, _ = await an_endpoint(world, receiver, server)
    server.script("/token", answer(503))
    async with dispatching(world.pool, services.nats_url, failing_after=1_000):
        await asyncio.gather(*(publish(bus, app_id) for _ in range(40)))
        await server.wait_for(3)
        asked_at = [request.at for request in server.requests]
        server.script("/token", server.giving())
        await world.settled(40, within_s=20)

    gaps = [later - before for before, later in pairwise(asked_at)]
    assert gaps[0] >= module.GAP_S
    assert gaps[1] >= 2 * module.GAP_S
    # Those that were under way at the first time, and few since: the others waited in their lane.
    failed = [row for row in await world.attempts() if row["fault"] == "oauth"]
    assert len(failed) <= 16 + 8 + 4


@pytest.mark.usefixtures("stream")
async def test_an_authorization_server_that_hangs_holds_up_no_other_app(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, _ = await an_endpoint(world, receiver, server)
    other_id = await world.app()
    await world.endpoint(other_id, receiver.url("/other"))
    server.script("/token", hang())
    async with dispatching(world.pool, services.nats_url, request_timeout_s=4.0):
        await asyncio.gather(*(publish(bus, app_id) for _ in range(30)))
        await server.wait_for(1)
        began_at = asyncio.get_running_loop().time()
        for _ in range(20):
            await publish(bus, other_id)
        last = (await receiver.wait_for(20, path="/other"))[-1]
        assert last.at - began_at < 1.8
        await eventually(lambda: _any_logged(world))

    row = next(row for row in await world.attempts() if row["fault"] == "oauth")
    assert row["detail"] == "no access token: the authorization server: no answer in time"
    assert 1_950 <= row["duration_ms"] < 3_900


async def _any_logged(world: World) -> bool:
    return any(row["fault"] == "oauth" for row in await world.attempts())


@pytest.mark.usefixtures("stream", "long_gaps")
async def test_what_is_set_anew_counts_at_once_also_while_a_token_is_not_asked_for(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, endpoint_id = await an_endpoint(world, receiver, server)
    server.script("/token", refusing())
    async with dispatching(world.pool, services.nats_url):
        await publish(bus, app_id)
        await eventually(lambda: _any_logged(world))
        server.script("/token", server.giving())
        changed_at = asyncio.get_running_loop().time()
        await set_oauth(world.pool, app_id, endpoint_id, server.token_url, client_id="another")
        await publish(bus, app_id)
        [first, *_] = await receiver.wait_for(1)

        assert first.at - changed_at < 5.0
        assert server.forms[-1]["client_id"] == "another"
        await world.pool.execute("DELETE FROM endpoint_oauth WHERE endpoint_id = $1", endpoint_id)
        await publish(bus, app_id)
        await receiver.wait_for(2)

    assert shown(receiver)[1] is None


@pytest.mark.usefixtures("stream")
async def test_whoever_comes_after_a_crash_goes_on_with_the_newest_refresh_token(
    world: World, receiver: Receiver, server: AuthorizationServer, services: Services, bus: Client
) -> None:
    app_id, endpoint_id = await an_endpoint(world, receiver, server, refresh_token="r0")
    server.script("/token", server.giving(rotating=True))
    held = Held(answer())
    receiver.script("/hook", held)
    async with dispatching(world.pool, services.nats_url) as running:
        await publish(bus, app_id)
        await receiver.wait_for(1)
        assert await kept_refresh_token(world.pool, app_id, endpoint_id) == ("r1", 1)
        await running.die()
    held.gate.set()
    async with dispatching(world.pool, services.nats_url, "d2"):
        await world.settled(1)

    assert [form["refresh_token"] for form in server.forms] == ["r0", "r1"]
    assert shown(receiver) == ["Bearer t1", "Bearer t2"]
    assert await kept_refresh_token(world.pool, app_id, endpoint_id) == ("r2", 2)


# Alone


@asynccontextmanager
async def lending(
    pool: Pool, *, addresses: Sequence[str] = (HOST,), proxy: Proxy | None = None, **limits: object
) -> AsyncIterator[Tokens]:
    async def resolve(_: str, __: str) -> Sequence[str]:
        return addresses

    guard = Guard(LOOPBACK, resolve)
    transport = Transport(permits=guard.permits, tls=TLS, proxy=proxy)
    async with dispatching_parts(pool, **limits) as given:
        made = Tokens(given, guard=guard, transport=transport)
        running = asyncio.create_task(made.run())
        await asyncio.sleep(0)
        try:
            yield made
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await transport.aclose()


@asynccontextmanager
async def dispatching_parts(pool: Pool, **limits: object) -> AsyncIterator[Parts]:
    yield parts(pool, Client(), config(**limits), dice=lambda: 0.0)


def a_client(token_url: str, *, version: int = 1, **changes: object) -> OauthClient:
    place = Place(ids.new_id(ids.APP, now()), ids.new_id(ids.ENDPOINT, now()), version)
    url = check_url(token_url, LOOPBACK)
    return OauthClient(place=place, config=a_config(token_url, **changes), url=url)


async def stored(pool: Pool, server: AuthorizationServer, refresh_token: str) -> OauthClient:
    """Give a client whose refresh token is in the database."""
    client = a_client(server.token_url)
    app_id, endpoint_id, _ = client.place
    await set_oauth(pool, app_id, endpoint_id, server.token_url, refresh_token=refresh_token)
    return await as_stored(pool, client)


async def as_stored(pool: Pool, client: OauthClient) -> OauthClient:
    """Give a client as it is by now."""
    version = await pool.fetchval(
        "SELECT version FROM endpoint_oauth WHERE endpoint_id = $1", client.place.endpoint_id
    )
    config_ = a_config(client.config.token_url, grant_type=GrantType.REFRESH_TOKEN)
    return replace(client, place=client.place._replace(version=version), config=config_)


async def get(tokens: Tokens, client: OauthClient, within_s: float = 5.0) -> Token:
    return await tokens.get(client, asyncio.get_running_loop().time() + within_s)


async def fault_of(tokens: Tokens, client: OauthClient, within_s: float = 5.0) -> DeliveryFault:
    with pytest.raises(DeliveryFault) as fault:
        await get(tokens, client, within_s)
    return fault.value


async def test_a_token_is_asked_for_anew_when_its_life_is_nearly_over(
    pool: Pool, server: AuthorizationServer
) -> None:
    server.script("/token", sequence(server.giving(expires_in=1), server.giving()))
    async with lending(pool) as tokens:
        client, loop = a_client(server.token_url), asyncio.get_running_loop()
        first = await get(tokens, client)
        assert await get(tokens, client) is first

        async def renewed() -> bool:
            return await get(tokens, client) is not first

        await eventually(renewed)

        assert loop.time() >= first.good_until
        assert [request.path for request in server.requests] == ["/token"] * 2


async def test_an_address_that_is_not_allowed_is_not_asked(
    pool: Pool, server: AuthorizationServer
) -> None:
    named = server.token_url.replace(HOST, "auth.example.com")
    async with lending(pool, addresses=["169.254.169.254"]) as tokens:
        fault = await fault_of(tokens, a_client(named))

    assert (fault.kind, fault.detail) == (
        "oauth",
        "no access token: the authorization server: address not allowed",
    )
    assert server.connections == 0


async def test_a_token_url_that_may_not_be_is_a_fault_of_its_own(pool: Pool) -> None:
    client = replace(a_client(f"http://{HOST}:8080/"), url=None, fault="the token URL: no")
    async with lending(pool) as tokens:
        fault = await fault_of(tokens, client)

    assert (fault.kind, fault.detail) == ("oauth", "no access token: the token URL: no")


async def test_a_fault_of_the_egress_proxy_stays_one(
    pool: Pool, server: AuthorizationServer
) -> None:
    async with Receiver() as gone:
        pass
    proxy = Proxy(kind=ProxyKind.CONNECT, host=HOST, port=gone.port)
    async with lending(pool, proxy=proxy) as tokens:
        fault = await fault_of(tokens, a_client(server.token_url))

    assert fault.kind == Fault.PROXY


async def test_a_server_says_when_it_is_to_be_asked_again(
    pool: Pool, server: AuthorizationServer
) -> None:
    server.script("/token", refusing(429, **{"Retry-After": "40"}))
    async with lending(pool) as tokens:
        client = a_client(server.token_url)
        first, second = [await fault_of(tokens, client) for _ in range(2)]

    assert 39 < (first.retry_after_s or 0) <= 40
    assert second.detail == first.detail
    assert len(server.requests) == 1


async def test_whoever_cannot_wait_leaves_the_request_to_the_others(
    pool: Pool, server: AuthorizationServer
) -> None:
    held = Held(server.giving())
    server.script("/token", held)
    async with lending(pool) as tokens:
        client = a_client(server.token_url)
        patient = asyncio.ensure_future(get(tokens, client))
        fault = await fault_of(tokens, client, within_s=0.05)
        hasty = asyncio.ensure_future(get(tokens, client))
        await asyncio.sleep(0)
        hasty.cancel()
        held.gate.set()

        assert (await patient).line == b"Authorization: Bearer t1\r\n"
        assert fault.detail == "no access token: there was none in time"


async def test_an_attempt_from_before_a_change_does_not_bring_the_former_back(
    pool: Pool, server: AuthorizationServer
) -> None:
    async with lending(pool) as tokens:
        former = a_client(server.token_url)
        newer = replace(former, place=former.place._replace(version=2))
        token = await get(tokens, newer)

        await get(tokens, former)

        assert await get(tokens, newer) is token
        assert len(server.requests) == 2


async def test_tokens_of_those_that_were_used_longest_ago_are_forgotten(
    pool: Pool, server: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEPT", 2)
    async with lending(pool) as tokens:
        first, second, third = [a_client(server.token_url) for _ in range(3)]
        kept = await get(tokens, first)
        await get(tokens, second)
        assert await get(tokens, first) is kept
        await get(tokens, third)

        assert await get(tokens, first) is kept
        assert (await get(tokens, second)).line == b"Authorization: Bearer t4\r\n"


async def test_a_refresh_token_is_at_rest_and_sealed_before_the_token_is_used(
    pool: Pool, server: AuthorizationServer
) -> None:
    server.script("/token", server.giving(rotating=True))
    async with lending(pool) as tokens:
        client = await stored(pool, server, "r0")

        await get(tokens, client)

        assert await kept_refresh_token(pool, *client.place[:2]) == ("r1", 1)
    row = await pool.fetchrow("SELECT * FROM endpoint_oauth")
    assert b"r1" not in row["refresh_token"]
    assert b"s3cret" not in row["config"]


async def test_a_refresh_token_that_stays_is_not_written_again(
    pool: Pool, server: AuthorizationServer
) -> None:
    server.script("/token", server.giving(refresh_token="r0"))
    async with lending(pool) as tokens:
        client = await stored(pool, server, "r0")

        await get(tokens, client)

        assert await kept_refresh_token(pool, *client.place[:2]) == ("r0", 0)


async def test_a_configuration_that_is_set_meanwhile_keeps_its_own_refresh_token(
    pool: Pool, server: AuthorizationServer
) -> None:
    held = Held(server.giving(rotating=True))
    server.script("/token", held)
    async with lending(pool) as tokens:
        client = await stored(pool, server, "r0")
        app_id, endpoint_id, _ = client.place
        asking = asyncio.ensure_future(get(tokens, client))
        await server.wait_for(1)
        await set_oauth(pool, app_id, endpoint_id, server.token_url, refresh_token="set")
        held.gate.set()
        await asking

        assert await kept_refresh_token(pool, app_id, endpoint_id) == ("set", 0)
        await get(tokens, await as_stored(pool, client))
    assert [form["refresh_token"] for form in server.forms] == ["r0", "set"]


async def test_of_two_that_refresh_at_once_the_first_to_write_counts(
    pool: Pool, server: AuthorizationServer
) -> None:
    first, second = Held(server.giving(refresh_token="a")), Held(server.giving(refresh_token="b"))
    server.script("/token", sequence(first, second))
    async with lending(pool) as tokens, lending(pool) as others:
        client = await stored(pool, server, "r0")
        asking = [asyncio.ensure_future(get(tokens, client))]
        await server.wait_for(1)
        asking.append(asyncio.ensure_future(get(others, client)))
        await server.wait_for(2)
        second.gate.set()
        await asking[1]
        first.gate.set()
        await asking[0]

        assert await kept_refresh_token(pool, *client.place[:2]) == ("b", 1)


async def test_a_refresh_token_that_cannot_be_written_is_kept_until_it_is(
    pool: Pool, server: AuthorizationServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POSTGRES_S", 0.2)
    held = Held(server.giving(rotating=True))
    server.script("/token", held)
    async with lending(pool) as tokens:
        client = await stored(pool, server, "r0")
        place = client.place[:2]
        asking = asyncio.ensure_future(get(tokens, client))
        await server.wait_for(1)
        async with pool.acquire() as link, link.transaction():
            await link.execute("SELECT FROM endpoint_oauth WHERE app_id = $1 FOR UPDATE", place[0])
            held.gate.set()
            assert (await asking).line == b"Authorization: Bearer t1\r\n"
            assert await kept_refresh_token(pool, *place) == ("r0", 0)

        async def written() -> bool:
            return await kept_refresh_token(pool, *place) == ("r1", 1)

        await eventually(written)


async def test_a_configuration_that_is_gone_is_a_fault(
    pool: Pool, server: AuthorizationServer
) -> None:
    async with lending(pool) as tokens:
        client = a_client(server.token_url, grant_type=GrantType.REFRESH_TOKEN)
        fault = await fault_of(tokens, client)

    assert fault.detail == "no access token: the configuration has changed meanwhile"
