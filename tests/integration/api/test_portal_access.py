"""Keys of portals, integrations and apps, through the official client."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import (
    ApplicationIn,
    ApplicationTokenExpireIn,
    AppPortalAccessIn,
    EndpointIn,
    EndpointPatch,
    EndpointSecretRotateIn,
    EventTypeIn,
    IntegrationIn,
    IntegrationUpdate,
    MessageIn,
    SvixAsync,
)
from svix.exceptions import HttpError, HTTPValidationError
from svix.models import AppPortalCapability

from gateway.config import GatewayConfig
from schema.api_key import KeyKind
from schema.store import api_key, upkeep
from tests.gateway_server import CONFIG, Gateway, make_key, serve
from tests.tenants import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")

URL = "https://hooks.example.com/in"
WEEK = timedelta(days=7)


@lent_to_a_test
async def app_id(svix: SvixAsync) -> str:
    return (await svix.application.create(ApplicationIn(name="Tenant", uid="tenant"))).id


async def refused(call: object, status: int) -> None:
    with pytest.raises(HttpError) as raised:
        await call
    assert raised.value.status_code == status


async def faults(call: object) -> list[str]:
    with pytest.raises(HTTPValidationError) as raised:
        await call
    return [fault.loc[-1] for fault in raised.value.detail]


async def entered(gateway: Gateway, svix: SvixAsync, **access: object) -> SvixAsync:
    """Enter the portal of the tenant."""
    given = await svix.authentication.app_portal_access("tenant", AppPortalAccessIn(**access))
    return gateway.svix(given.token)


async def who(gateway: Gateway, key: str) -> dict[str, object]:
    async with gateway.http(key) as http:
        said = await http.get("/api/v1/auth/whoami")
    return dict(said.json())


async def ends(gateway: Gateway, key: str) -> None:
    """Wait until a key counts no more, at most as long as we promise."""
    async with asyncio.timeout(1.0), gateway.http(key) as http:
        while (await http.get("/api/v1/auth/whoami")).status_code != 401:
            await asyncio.sleep(0.005)


class TestPortals:
    async def test_a_portals_key_acts_within_its_app_until_it_ends(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        given = await svix.authentication.app_portal_access(
            "tenant", AppPortalAccessIn(expiry=3600, session_id="user@1", feature_flags=["beta"])
        )
        portal = gateway.svix(given.token)

        made = await portal.endpoint.create(app_id, EndpointIn(url=URL))

        assert given.url == f"{gateway.url}/portal#key={given.token}"
        assert (await portal.endpoint.get_secret("tenant", made.id)).key.startswith("whsec_")
        await refused(portal.application.list(), 403)
        caller = await who(gateway, given.token)
        assert (caller["appId"], caller["sessionId"]) == (app_id, "user@1")
        assert (caller["kind"], caller["featureFlags"]) == ("portal", ["beta"])
        assert set(caller["capabilities"]) == set(AppPortalCapability)
        left = datetime.fromisoformat(str(caller["expiresAt"])) - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)

    @pytest.mark.usefixtures("app_id")
    async def test_the_key_of_a_link_is_exchanged_once(
        self, gateway: Gateway, svix: SvixAsync
    ) -> None:
        access = AppPortalAccessIn(session_id="user@1", capabilities=["ViewBase"])
        link = (await svix.authentication.app_portal_access("tenant", access)).token
        before = await who(gateway, link)
        path, body = "/api/v1/auth/one-time-token", {"oneTimeToken": link}

        async with gateway.http(link) as http:
            other = await http.post(path, json={"oneTimeToken": "hk_other"})
            answers = await asyncio.gather(*(http.post(path, json=body) for _ in range(3)))
            again = await http.post(path, json=body)

        assert sorted(one.status_code for one in answers) == [200, 401, 401]
        assert (other.status_code, again.status_code) == (401, 401)
        given = next(one.json() for one in answers if one.status_code == 200)
        assert given["capabilities"] == ["ViewBase"]
        await ends(gateway, link)
        assert await who(gateway, given["token"]) == before
        expire = ApplicationTokenExpireIn(session_ids=["user@1"])
        await svix.authentication.expire_all("tenant", expire)
        await ends(gateway, given["token"])

    async def test_operators_exchange_nothing(self, http: httpx.AsyncClient) -> None:
        refusal = await http.post("/api/v1/auth/one-time-token", json={"oneTimeToken": "x"})

        assert refusal.status_code == 403

    @pytest.mark.usefixtures("app_id")
    async def test_a_key_lives_a_week_if_nothing_is_said_and_a_body_may_be_left_out(
        self, gateway: Gateway, http: httpx.AsyncClient
    ) -> None:
        for path, body in (
            ("/api/v1/auth/app-portal-access/tenant", b"null"),
            ("/api/v1/auth/dashboard-access/tenant", b""),
        ):
            said = await http.post(path, content=body)

            assert said.status_code == 200
            caller = await who(gateway, said.json()["token"])
            left = datetime.fromisoformat(str(caller["expiresAt"])) - datetime.now(UTC)
            assert WEEK - timedelta(minutes=1) < left <= WEEK

    async def test_an_app_is_made_on_the_way_and_described_in_vain_if_it_is_there(
        self, svix: SvixAsync
    ) -> None:
        for name in ("Made", "Ignored"):
            await svix.authentication.app_portal_access(
                "fresh", AppPortalAccessIn(application=ApplicationIn(name=name, uid="fresh"))
            )

        assert (await svix.application.get("fresh")).name == "Made"
        await refused(svix.authentication.app_portal_access("none", AppPortalAccessIn()), 404)
        other = ApplicationIn(name="Other", uid="other")
        asked = svix.authentication.app_portal_access("none", AppPortalAccessIn(application=other))
        assert await faults(asked) == ["uid"]

    @pytest.mark.usefixtures("app_id")
    async def test_what_is_out_of_bounds_is_named(self, http: httpx.AsyncClient) -> None:
        said = await http.post(
            "/api/v1/auth/app-portal-access/tenant",
            json={
                "expiry": 3599,
                "capabilities": ["ManageEndpoint"],
                "sessionId": "a b",
                "featureFlags": [f"f{n}" for n in range(26)],
            },
        )

        assert said.status_code == 422
        assert {fault["loc"][1] for fault in said.json()["detail"]} == {
            "expiry", "capabilities", "sessionId", "featureFlags"
        }  # fmt: skip

    async def test_whoever_only_looks_changes_nothing_and_sees_no_secret(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))
        base = [AppPortalCapability.VIEW_BASE]
        read_only = {"read_only": True, "capabilities": list(AppPortalCapability)}

        for access in ({"capabilities": base}, {"read_only": True}):
            portal = await entered(gateway, svix, **access)

            assert len((await portal.endpoint.list(app_id)).data) == 1
            await refused(portal.endpoint.patch(app_id, made.id, EndpointPatch(url=URL)), 403)
            await refused(portal.endpoint.delete(app_id, made.id), 403)
            await refused(portal.endpoint.get_secret(app_id, made.id), 403)
        portal = await entered(gateway, svix, **read_only)
        await portal.endpoint.get_secret(app_id, made.id)
        rotate = EndpointSecretRotateIn()
        await refused(portal.endpoint.rotate_secret(app_id, made.id, rotate), 403)

    async def test_a_key_that_logs_out_counts_no_more_at_any_gateway_within_a_second(
        self, gateway: Gateway, svix: SvixAsync, app_id: str, bus: Client
    ) -> None:
        given = await svix.authentication.app_portal_access(app_id, AppPortalAccessIn())
        portal = gateway.svix(given.token)
        async with serve(gateway.pool, bus, config=CONFIG) as second:
            await who(second, given.token)
            await portal.authentication.logout()

            await refused(portal.application.get(app_id), 401)
            await ends(second, given.token)

    async def test_an_operator_cannot_log_out(self, svix: SvixAsync) -> None:
        await refused(svix.authentication.logout(), 403)

    async def test_all_keys_of_portals_are_ended_or_those_of_some_sessions(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        expire = svix.authentication.expire_all
        one, two = [
            (
                await svix.authentication.app_portal_access(
                    app_id, AppPortalAccessIn(session_id=session)
                )
            ).token
            for session in ("one", "two")
        ]
        own = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app_id)

        await expire(app_id, ApplicationTokenExpireIn(session_ids=["one", "none"]))
        await ends(gateway, one)
        later = datetime.now(UTC) + timedelta(seconds=60)
        await expire(app_id, ApplicationTokenExpireIn(expiry=60))
        caller = await who(gateway, two)
        await expire(app_id, ApplicationTokenExpireIn(expiry=3600))
        assert (await who(gateway, two)) == caller
        await expire(app_id, ApplicationTokenExpireIn())
        await ends(gateway, two)

        ended = datetime.fromisoformat(str(caller["expiresAt"]))
        assert later <= ended < later + timedelta(seconds=5)
        assert (await who(gateway, own))["appId"] == app_id

    async def test_who_was_let_in_and_thrown_out_is_audited_without_the_key(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        given = await svix.authentication.app_portal_access(app_id, AppPortalAccessIn())
        await svix.authentication.expire_all(app_id, ApplicationTokenExpireIn(session_ids=["x"]))

        async with gateway.pool.acquire() as link:
            told = await link.fetch(
                "SELECT action, detail::text FROM audit WHERE environment_id = $1"
                " AND action LIKE 'portal.%' ORDER BY at",
                gateway.environment_id,
            )
        assert [row["action"] for row in told] == ["portal.access", "portal.expire"]
        assert given.token not in str([tuple(row) for row in told])

    async def test_what_is_left_of_ended_keys_is_dropped(
        self, gateway: Gateway, desk: Desk
    ) -> None:
        tenant = await desk.tenant()
        for kind in (KeyKind.PORTAL, KeyKind.APP):
            for hours in (-30, 1):
                await make_key(
                    gateway.pool, gateway.environment_id, kind=kind, app_id=tenant.app_id,
                    expires_at=datetime.now(UTC) + timedelta(hours=hours),
                )  # fmt: skip

        await upkeep.prune_keys(desk.link, datetime.now(UTC) - timedelta(days=1))

        keys = await api_key.list_all(desk.link)
        left = [key.kind for key in keys if key.app_id == tenant.app_id]
        assert [left.count(kind) for kind in (KeyKind.PORTAL, KeyKind.APP)] == [1, 2]


class TestFlags:
    async def test_flagged_event_types_are_there_for_whoever_has_one_of_the_flags(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        for name, flags in (("plain", None), ("beta", ["beta", "early"]), ("gamma", ["gamma"])):
            await svix.event_type.create(
                EventTypeIn(name=name, description="", feature_flags=flags)
            )
        portal = await entered(gateway, svix, feature_flags=["early", "other"])
        plain = await entered(gateway, svix)

        assert [e.name for e in (await portal.event_type.list()).data] == ["beta", "plain"]
        assert [e.name for e in (await plain.event_type.list()).data] == ["plain"]
        assert (await portal.event_type.get("beta")).name == "beta"
        await refused(portal.event_type.get("gamma"), 404)
        await portal.endpoint.create(app_id, EndpointIn(url=URL, event_types=["beta"]))
        hidden = EndpointIn(url=URL, event_types=["gamma"])
        assert await faults(portal.endpoint.create(app_id, hidden)) == ["eventTypes"]
        await svix.endpoint.create(app_id, hidden)


class TestIntegrations:
    async def test_an_integration_is_made_read_changed_and_deleted(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.integration.create(
            app_id, IntegrationIn(name="Zapier", feature_flags=["beta"])
        )
        changed = await svix.integration.update(
            "tenant", made.id, IntegrationUpdate(name="Zap", feature_flags=["gamma"])
        )

        assert made.id.startswith("integ_")
        assert (made.name, made.feature_flags) == ("Zapier", ["beta"])
        assert (changed.name, changed.feature_flags) == ("Zap", ["gamma"])
        assert await svix.integration.get(app_id, made.id) == changed
        assert (await svix.integration.list(app_id)).data == [changed]
        await svix.integration.delete(app_id, made.id)
        await refused(svix.integration.get(app_id, made.id), 404)
        assert (await svix.integration.list(app_id)).data == []

    async def test_its_key_acts_within_the_app_until_it_is_rotated_or_the_integration_deleted(
        self, gateway: Gateway, svix: SvixAsync, app_id: str, http: httpx.AsyncClient
    ) -> None:
        await svix.event_type.create(
            EventTypeIn(name="beta", description="", feature_flags=["beta"])
        )
        made = await svix.integration.create(app_id, IntegrationIn(name="Zapier"))
        shown = await http.get(f"/api/v1/app/{app_id}/integration/{made.id}/key")
        first = gateway.svix(shown.json()["key"])

        await first.endpoint.create(app_id, EndpointIn(url=URL))
        await refused(first.integration.list(app_id), 403)
        await refused(first.application.list(), 403)
        await refused(first.event_type.get("beta"), 404)
        await svix.integration.update(
            app_id, made.id, IntegrationUpdate(name="Zapier", feature_flags=["beta"])
        )
        assert (await first.event_type.get("beta")).name == "beta"

        rotated = (await svix.integration.rotate_key(app_id, made.id)).key
        second = gateway.svix(rotated)
        await refused(first.application.get(app_id), 401)
        assert (await second.event_type.get("beta")).name == "beta"
        again = await http.get(f"/api/v1/app/{app_id}/integration/{made.id}/key")
        assert again.json() == {"key": rotated}
        await svix.integration.delete(app_id, made.id)
        await refused(second.application.get(app_id), 401)

    async def test_a_deleted_app_takes_its_integrations_and_their_keys_along(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.integration.create(app_id, IntegrationIn(name="Zapier"))
        key = (await svix.integration.rotate_key(app_id, made.id)).key

        await svix.application.delete(app_id)

        await ends(gateway, key)
        async with gateway.pool.acquire() as link:
            left = await link.fetchval("SELECT count(*) FROM integration WHERE app_id = $1", app_id)
        assert left == 0

    async def test_the_key_is_not_in_the_database_as_it_is_and_showing_it_is_audited(
        self, gateway: Gateway, svix: SvixAsync, app_id: str, http: httpx.AsyncClient
    ) -> None:
        made = await svix.integration.create(app_id, IntegrationIn(name="Zapier"))
        key = (await http.get(f"/api/v1/app/{app_id}/integration/{made.id}/key")).json()["key"]

        async with gateway.pool.acquire() as link:
            rows = await link.fetch(
                """SELECT i::text AS row FROM integration AS i WHERE app_id = $1
                   UNION ALL SELECT k::text FROM api_key AS k WHERE app_id = $1""",
                app_id,
            )
            told = await link.fetchval(
                """SELECT count(*) FROM audit
                   WHERE object = $1 AND action = 'integration.reveal_key'""",
                made.id,
            )
        assert key[3:-4] not in str([row["row"] for row in rows])
        assert told == 1


class TestKeysOfApps:
    async def test_a_key_of_an_app_is_made_listed_and_ended(
        self, gateway: Gateway, svix: SvixAsync, app_id: str, http: httpx.AsyncClient
    ) -> None:
        path = f"/api/v1/auth/app/{app_id}/api-token"
        other = (await svix.application.create(ApplicationIn(name="Other"))).id
        made = (
            await http.post(path, json={"name": "backend", "expiry": 60, "featureFlags": ["beta"]})
        ).json()
        one = f"{path}/{made['id']}"
        elsewhere = f"/api/v1/auth/app/{other}/api-token"

        assert (await who(gateway, made["token"]))["featureFlags"] == ["beta"]
        listed = (await http.get(path)).json()["data"]
        assert [(key["id"], key["name"]) for key in listed] == [(made["id"], "backend")]
        assert (await http.get(elsewhere)).json()["data"] == []
        assert (await http.get(f"{elsewhere}/{made['id']}")).status_code == 404
        assert (await http.put(one, json={"name": "renamed"})).json()["name"] == "renamed"
        assert (await http.post(f"{one}/expire")).status_code == 204
        await ends(gateway, made["token"])
        assert (await http.get(path)).json()["data"] == []

    async def test_a_message_token_publishes_and_does_nothing_else(
        self, gateway: Gateway, svix: SvixAsync, app_id: str, http: httpx.AsyncClient
    ) -> None:
        path = f"/api/v1/auth/app/{app_id}/create-message-token"
        made = (await http.post(path, json={"name": "shop", "expiry": 3600})).json()
        shop, message = gateway.svix(made["token"]), MessageIn(event_type="a", payload={})

        assert made["scopes"] == ["message:create"]
        assert (await shop.message.create("tenant", message)).event_type == "a"
        await refused(shop.message.list(app_id), 403)
        await refused(shop.application.get(app_id), 403)
        named = MessageIn(
            event_type="a", payload={}, application=ApplicationIn(name="New", uid="new")
        )
        await refused(shop.message.create("new", named), 404)
        await refused(svix.application.get("new"), 404)
        keys = f"/api/v1/auth/app/{app_id}/api-token"
        assert [key["id"] for key in (await http.get(keys)).json()["data"]] == [made["id"]]
        await http.post(f"{keys}/{made['id']}/expire")
        await refused(shop.message.create("tenant", message), 401)

    async def test_a_key_of_an_app_reaches_no_further(
        self, app_id: str, http: httpx.AsyncClient
    ) -> None:
        said = await http.post(
            f"/api/v1/auth/app/{app_id}/api-token", json={"name": "x", "scopes": ["*"]}
        )

        assert said.json()["detail"][0]["loc"] == ["body", "scopes"]

    async def test_an_operators_key_may_end_by_itself(
        self, gateway: Gateway, http: httpx.AsyncClient
    ) -> None:
        path = f"/api/v1/management/authentication/{gateway.environment_id}/api-token"
        made = (await http.post(path, json={"name": "ci", "expiry": 3600})).json()

        left = datetime.fromisoformat(made["expiresAt"]) - datetime.now(UTC)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        assert (await who(gateway, made["token"]))["expiresAt"] == made["expiresAt"]


async def test_links_lead_to_where_the_operator_says(gateway: Gateway, bus: Client) -> None:
    config = GatewayConfig(shards=CONFIG.shards, public_url="https://hooks.example.com/h")
    async with serve(gateway.pool, bus, config=config) as other:
        given = await other.svix().authentication.app_portal_access(
            "linked", AppPortalAccessIn(application=ApplicationIn(name="Linked", uid="linked"))
        )

    assert given.url == f"https://hooks.example.com/h/portal#key={given.token}"
