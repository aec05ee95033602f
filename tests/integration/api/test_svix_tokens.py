"""The tokens of a self-hosted Svix, as its users bring them along."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import jwt
import pytest
from nats.aio.client import Client
from svix.api import ApplicationIn, ApplicationTokenExpireIn, EndpointIn, EventTypeIn, MessageIn
from svix.exceptions import HttpError

from gateway.config import GatewayConfig
from gateway.svix_token import read_rules
from schema import ids
from schema.api_key import hash_of
from tests.gateway_server import CONFIG, Gateway, now, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "a secret of tests, as long as it has to be."
TOKENS = replace(CONFIG, tokens=read_rules("HS256", SECRET))
URL = "https://hooks.example.com/in"


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return TOKENS


def signed(subject: str, *, seconds_ago: int = 5, **claims: Any) -> str:
    """Make a token as Svix's server does."""
    at = int(now().timestamp()) - seconds_ago
    said = {"iat": at, "exp": at + 3600, "nbf": at, "iss": "svix-server", "sub": subject}
    return jwt.encode(said | claims, SECRET, algorithm="HS256")


async def refused(call: object, status: int, code: str | None = None) -> None:
    with pytest.raises(HttpError) as raised:
        await call
    assert raised.value.status_code == status
    assert code is None or raised.value.code == code


async def ends(gateway: Gateway, key: str) -> None:
    async with asyncio.timeout(1.0), gateway.http(key) as http:
        while (await http.get("/api/v1/auth/whoami")).status_code != 401:
            await asyncio.sleep(0.005)


async def test_an_org_that_nobody_made_is_there_with_its_first_token(shared: Gateway) -> None:
    org = ids.new_id(ids.ENVIRONMENT, now())
    svix = shared.svix(signed(org))

    app = await svix.application.create(ApplicationIn(name="Moved", uid="moved"))
    await svix.event_type.create(EventTypeIn(name="a.b", description=""))
    await svix.endpoint.create("moved", EndpointIn(url=URL, event_types=["a.b"]))
    await svix.message.create("moved", MessageIn(event_type="a.b", payload={}))

    async with shared.http() as http, shared.http(signed(org)) as own:
        made = (await http.get(f"/api/v1/management/environment/{org}")).json()
        caller = (await own.get("/api/v1/auth/whoami")).json()
        assert (await own.get("/api/v1/management/environment")).status_code == 403
    assert (made["id"], made["name"], made["type"]) == (org, org, "production")
    assert (caller["envId"], caller["permissionSource"]) == (org, "SvixJwt")
    assert [one.id for one in (await svix.application.list()).data] == [app.id]


async def test_many_first_tokens_at_once_make_one_environment(shared: Gateway) -> None:
    org = ids.new_id(ids.ENVIRONMENT, now())
    keys = [signed(org, jti=f"{n}") for n in range(8)]

    lists = await asyncio.gather(*(shared.svix(key).application.list() for key in keys))

    assert [one.data for one in lists] == [[]] * 8


async def test_a_deleted_environment_is_not_made_again(shared: Gateway) -> None:
    org = ids.new_id(ids.ENVIRONMENT, now())
    svix = shared.svix(signed(org))
    await svix.application.list()

    async with shared.http() as http:
        await http.delete(f"/api/v1/management/environment/{org}")

    await refused(svix.application.list(), 401, "authentication_failed")
    await refused(shared.svix(signed(org, jti="b")).application.list(), 401)


async def test_an_apps_token_makes_no_environment(shared: Gateway) -> None:
    org, app = ids.new_id(ids.ENVIRONMENT, now()), ids.new_id(ids.APP, now())

    await refused(shared.svix(signed(app, org=org)).application.get(app), 401)

    async with shared.http() as http:
        assert (await http.get(f"/api/v1/management/environment/{org}")).status_code == 404


async def test_an_apps_token_acts_within_the_app_and_sees_by_its_flags(gateway: Gateway) -> None:
    svix = gateway.svix()
    app, other = [await svix.application.create(ApplicationIn(name=name)) for name in "ab"]
    await svix.event_type.create(EventTypeIn(name="beta", description="", feature_flags=["beta"]))
    plain = gateway.svix(signed(app.id, org=gateway.environment_id))
    flagged = gateway.svix(signed(app.id, org=gateway.environment_id, feature_flags=["beta"]))

    made = await plain.endpoint.create(app.id, EndpointIn(url=URL))
    await plain.endpoint.get_secret(app.id, made.id)

    await refused(plain.application.get(other.id), 404)
    await refused(plain.application.list(), 403, "insufficient access")
    await refused(plain.event_type.get("beta"), 404)
    assert (await flagged.event_type.get("beta")).name == "beta"


async def test_a_token_that_logs_out_counts_no_more_anywhere_and_others_do(
    gateway: Gateway, bus: Client
) -> None:
    app = await gateway.svix().application.create(ApplicationIn(name="a"))
    one, two, three = [
        signed(app.id, org=gateway.environment_id, **claims)
        for claims in ({}, {"jti": "two"}, {"jti": "three"})
    ]
    again = signed(app.id, org=gateway.environment_id, jti="two", seconds_ago=9)
    async with serve(gateway.pool, bus, config=TOKENS) as second:
        for token in (one, two, three, again):
            await second.svix(token).application.get(app.id)

        await gateway.svix(one).authentication.logout()
        await gateway.svix(two).authentication.logout()

        await refused(gateway.svix(one).application.get(app.id), 401)
        for token in (one, two, again):
            await ends(second, token)
        await second.svix(three).application.get(app.id)


async def test_expiring_all_ends_the_tokens_that_were_issued_before(gateway: Gateway) -> None:
    svix = gateway.svix()
    app, other = [await svix.application.create(ApplicationIn(name=name)) for name in "ab"]
    old, others = [signed(one.id, org=gateway.environment_id) for one in (app, other)]
    for expiry in (60, 3600):
        await svix.authentication.expire_all(app.id, ApplicationTokenExpireIn(expiry=expiry))
        await gateway.svix(old).application.get(app.id)

    await svix.authentication.expire_all(app.id, ApplicationTokenExpireIn(session_ids=["x"]))
    await gateway.svix(old).application.get(app.id)
    await svix.authentication.expire_all(app.id, ApplicationTokenExpireIn())

    await ends(gateway, old)
    await refused(
        gateway.svix(signed(app.id, org=gateway.environment_id, jti="b")).application.get(app.id),
        401,
    )
    fresh = signed(app.id, org=gateway.environment_id, seconds_ago=-5)
    await gateway.svix(fresh).application.get(app.id)
    await gateway.svix(others).application.get(other.id)
    async with gateway.pool.acquire() as link:
        kept = await link.fetchval("SELECT count(*) FROM revoked_token WHERE app_id = $1", app.id)
    assert kept == 1  # it covers those before


async def test_a_token_ends_by_itself_also_when_it_is_remembered(
    gateway: Gateway, bus: Client
) -> None:
    time = now()
    async with serve(gateway.pool, bus, config=TOKENS, clock=lambda: time) as second:
        token = signed(gateway.environment_id, exp=int(time.timestamp()) + 10)
        await second.svix(token).application.list()
        time += timedelta(seconds=71)

        await refused(second.svix(token).application.list(), 401)


IS_THE_SECRET = (
    "This is the secret that tokens are signed with, and no token:"
    " make one with `hookline jwt generate`."
)
NO_ENVIRONMENT = "`sub` is not the id of an environment (org_…)."


@pytest.mark.parametrize(
    ("token", "status", "said"),
    [
        ("x.y.z", 401, "Invalid token"),
        (jwt.encode({"iat": 1}, SECRET), 401, "Invalid token (missing `sub`)."),
        (SECRET, 401, IS_THE_SECRET),
        (jwt.encode({"sub": "usr_1"}, SECRET), 400, NO_ENVIRONMENT),
    ],
)
async def test_what_is_wrong_with_a_token_is_said_as_svix_does(
    shared: Gateway, token: str, status: int, said: str
) -> None:
    async with shared.http(token) as http:
        got = await http.get("/api/v1/app")

    assert (got.status_code, got.json()["detail"]) == (status, said)
    assert got.json()["code"] == ("bad_token" if status == 400 else "authentication_failed")


async def test_tokens_do_not_count_where_no_secret_is_set(gateway: Gateway, bus: Client) -> None:
    async with serve(gateway.pool, bus, config=CONFIG) as second:
        await refused(second.svix(signed(gateway.environment_id)).application.list(), 401)


async def test_a_token_is_checked_once_and_then_remembered(gateway: Gateway) -> None:
    token = signed(gateway.environment_id, jti="remembered")
    await gateway.svix(token).application.list()

    remembered = gateway.app.state.parts.keys.keys.get(hash_of(token))

    assert remembered.environment_id == gateway.environment_id
