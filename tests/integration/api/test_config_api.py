"""Configuration through the official client, over real HTTP, on a real Postgres."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from nats.aio.client import Client
from svix.api import (
    ApplicationIn,
    ApplicationListOptions,
    ApplicationPatch,
    EndpointGetStatsOptions,
    EndpointHeadersIn,
    EndpointHeadersPatchIn,
    EndpointIn,
    EndpointListOptions,
    EndpointPatch,
    EndpointSecretRotateIn,
    EndpointUpsertIn,
    EventTypeDeleteOptions,
    EventTypeIn,
    EventTypeListOptions,
    EventTypePatch,
    EventTypeUpsertIn,
    Ordering,
    SvixAsync,
)
from svix.exceptions import HttpError, HTTPValidationError

from schema.api_key import KeyKind, mint
from schema.ids import shard_of
from tests.clients import plain_client
from tests.gateway_server import VAULT, Gateway, make_key, serve
from tests.services import SHARDS

URL = "https://hooks.example.com/in"


pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_a_test = pytest_asyncio.fixture(loop_scope="module")


async def refused(call: object, status: int, code: str | None = None) -> HttpError:
    with pytest.raises(HttpError) as raised:
        await call
    assert raised.value.status_code == status
    assert code is None or raised.value.code == code
    return raised.value


async def invalid(call: object) -> list[list[str]]:
    with pytest.raises(HTTPValidationError) as raised:
        await call
    assert raised.value.status_code == 422
    return [fault.loc for fault in raised.value.detail]


class TestApps:
    async def test_an_app_is_made_read_and_deleted(self, svix: SvixAsync) -> None:
        made = await svix.application.create(
            ApplicationIn(name="One", uid="one", throttle_rate=5, metadata={"k": "v"})
        )

        by_id = await svix.application.get(made.id)
        by_uid = await svix.application.get("one")
        await svix.application.delete("one")

        assert by_id == by_uid == made
        assert (made.name, made.uid, made.throttle_rate) == ("One", "one", 5)
        assert made.metadata == {"k": "v"}
        assert made.created_at.tzinfo is not None
        await refused(svix.application.get(made.id), 404, "not_found")
        await refused(svix.application.delete(made.id), 404)

    async def test_a_deleted_apps_uid_is_free_at_once(self, svix: SvixAsync) -> None:
        first = await svix.application.create(ApplicationIn(name="One", uid="one"))
        await svix.application.delete(first.id)

        second = await svix.application.create(ApplicationIn(name="Two", uid="one"))

        assert second.id != first.id
        assert (await svix.application.get("one")).name == "Two"

    async def test_a_taken_uid_is_a_conflict(self, svix: SvixAsync) -> None:
        await svix.application.create(ApplicationIn(name="One", uid="one"))
        other = await svix.application.create(ApplicationIn(name="Two"))

        error = await refused(
            svix.application.create(ApplicationIn(name="One", uid="one")), 409, "conflict"
        )
        assert "already exists" in error.detail
        await refused(svix.application.patch(other.id, ApplicationPatch(uid="one")), 409)

    async def test_get_or_create_gives_the_stored_app_unchanged(self, svix: SvixAsync) -> None:
        made = await svix.application.get_or_create(ApplicationIn(name="One", uid="one"))

        again = await svix.application.get_or_create(ApplicationIn(name="Other", uid="one"))

        assert again == made

    async def test_get_or_create_of_many_at_once_makes_one(self, svix: SvixAsync) -> None:
        calls = [
            svix.application.get_or_create(ApplicationIn(name=f"{n}", uid="one")) for n in range(8)
        ]

        made = await asyncio.gather(*calls)

        assert len({app.id for app in made}) == 1

    async def test_put_replaces_all_of_it_or_makes_a_new_one(self, svix: SvixAsync) -> None:
        made = await svix.application.create(
            ApplicationIn(name="One", uid="one", throttle_rate=5, metadata={"k": "v"})
        )

        replaced = await svix.application.upsert("one", ApplicationIn(name="New"))
        fresh = await svix.application.upsert("unknown", ApplicationIn(name="X", uid="x"))

        assert (replaced.id, replaced.name) == (made.id, "New")
        assert (replaced.uid, replaced.throttle_rate, replaced.metadata) == (None, None, {})
        assert replaced.created_at == made.created_at
        assert (fresh.uid, (await svix.application.get("x")).id) == ("x", fresh.id)

    async def test_put_says_201_for_a_new_one(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            made = await http.put("/api/v1/app/fake-id", json={"name": "x"})
            again = await http.put(f"/api/v1/app/{made.json()['id']}", json={"name": "y"})

        assert (made.status_code, again.status_code) == (201, 200)

    async def test_patch_changes_what_it_names_and_null_clears(self, svix: SvixAsync) -> None:
        made = await svix.application.create(
            ApplicationIn(name="One", uid="one", throttle_rate=5, metadata={"k": "v"})
        )

        named = await svix.application.patch(made.id, ApplicationPatch(name="Two"))
        cleared = await svix.application.patch(
            made.id, ApplicationPatch(uid=None, throttle_rate=None, metadata={"n": "1"})
        )

        assert (named.name, named.uid, named.throttle_rate) == ("Two", "one", 5)
        assert (cleared.name, cleared.uid, cleared.throttle_rate) == ("Two", None, None)
        assert cleared.metadata == {"n": "1"}
        assert await invalid(
            svix.application.patch(made.id, ApplicationPatch.model_construct(name=None))
        ) == [["body", "name"]]

    async def test_every_fault_is_named(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            answered = await http.post(
                "/api/v1/app",
                json={"name": "", "uid": "app_x", "rateLimit": 0, "metadata": {"k": "x" * 5000}},
            )

        assert answered.status_code == 422
        assert [fault["loc"] for fault in answered.json()["detail"]] == [
            ["body", "uid"],
            ["body", "name"],
            ["body", "rateLimit"],
            ["body", "metadata"],
        ]

    async def test_lists_are_walked_both_ways(self, svix: SvixAsync) -> None:
        apps = [await svix.application.create(ApplicationIn(name=f"{n}")) for n in range(5)]
        made = sorted(app.id for app in apps)

        first = await svix.application.list(ApplicationListOptions(limit=2))
        second = await svix.application.list(
            ApplicationListOptions(limit=2, iterator=first.iterator)
        )
        third = await svix.application.list(
            ApplicationListOptions(limit=2, iterator=second.iterator)
        )
        back = await svix.application.list(
            ApplicationListOptions(limit=2, iterator=second.prev_iterator)
        )
        last = await svix.application.list(
            ApplicationListOptions(limit=2, order=Ordering.DESCENDING)
        )

        pages = [[app.id for app in page.data] for page in (first, second, third, back, last)]
        assert pages == [made[:2], made[2:4], made[4:], made[:2], made[:2:-1]]
        assert [page.done for page in (first, second, third, back)] == [False, False, True, True]

    async def test_lists_leave_out_what_is_asked(self, svix: SvixAsync) -> None:
        bare, off, play, live = [
            await svix.application.create(ApplicationIn(name=name))
            for name in ("bare", "off", "play", "live")
        ]
        await svix.endpoint.create(off.id, EndpointIn(url=URL, disabled=True))
        await svix.endpoint.create(play.id, EndpointIn(url="https://play.svix.com/in/x"))
        await svix.endpoint.create(live.id, EndpointIn(url=URL))

        async def names(**options: bool) -> set[str]:
            page = await svix.application.list(ApplicationListOptions(**options))
            return {app.name for app in page.data}

        assert bare.uid is None
        assert await names(exclude_apps_with_no_endpoints=True) == {"off", "play", "live"}
        assert await names(exclude_apps_with_disabled_endpoints=True) == {"bare", "play", "live"}
        assert await names(exclude_apps_with_svix_play_endpoints=True) == {"bare", "off", "live"}

    async def test_a_retry_policy_survives_a_put_that_does_not_know_it(
        self, gateway: Gateway
    ) -> None:
        async with gateway.http() as http:
            made = (
                await http.post("/api/v1/app", json={"name": "x", "retryPolicy": [1, 2.5]})
            ).json()
            path = f"/api/v1/app/{made['id']}"
            replaced = (await http.put(path, json={"name": "y"})).json()
            cleared = (await http.patch(path, json={"retryPolicy": None})).json()
            bad = await http.patch(path, json={"retryPolicy": [-1]})

        assert made["retryPolicy"] == replaced["retryPolicy"] == [1, 2.5]
        assert cleared["retryPolicy"] is None
        assert bad.json()["detail"][0]["loc"] == ["body", "retryPolicy"]


@lent_to_a_test
async def app_id(svix: SvixAsync) -> str:
    return (await svix.application.create(ApplicationIn(name="Tenant", uid="tenant"))).id


class TestEndpoints:
    async def test_an_endpoint_is_made_read_and_deleted(self, svix: SvixAsync, app_id: str) -> None:
        await svix.event_type.create(EventTypeIn(name="a.b", description=""))
        made = await svix.endpoint.create(
            app_id,
            EndpointIn(
                url="HTTPS://Hooks.Example.com",
                uid="main",
                description="d",
                throttle_rate=7,
                event_types=["a.b"],
                channels=["c:1"],
                metadata={"k": "v"},
            ),
        )

        read = await svix.endpoint.get("tenant", "main")
        await svix.endpoint.delete(app_id, made.id)

        assert read == made
        assert made.url == "https://hooks.example.com/"
        assert (made.uid, made.description, made.throttle_rate) == ("main", "d", 7)
        assert (made.event_types, made.channels, made.metadata) == (["a.b"], ["c:1"], {"k": "v"})
        assert made.disabled is False
        await refused(svix.endpoint.get(app_id, made.id), 404, "not_found")
        assert (await svix.endpoint.list(app_id)).data == []

    async def test_both_versions_names_and_ours_are_shown(
        self, gateway: Gateway, app_id: str
    ) -> None:
        async with gateway.http() as http:
            made = (
                await http.post(
                    f"/api/v1/app/{app_id}/endpoint",
                    json={"url": URL, "rateLimit": 3, "version": 2, "ordered": True},
                )
            ).json()

        assert made["rateLimit"] == made["throttleRate"] == 3
        assert made["eventTypes"] is made["filterTypes"] is made["uid"] is None
        assert (made["version"], made["ordered"]) == (2, True)
        assert (made["state"], made["stateReason"], made["retryPolicy"]) == ("active", "", None)
        assert made["createdAt"].endswith("Z")

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://example.com/",
            "http://localhost:9999x/",
            "https://10.0.0.1/",
            "http://[::1]/",
            "http://1:2@example.com/",
            "nonsense",
            "",
        ],
    )
    async def test_a_url_that_may_not_be_reached_is_refused(
        self, svix: SvixAsync, app_id: str, url: str
    ) -> None:
        assert await invalid(svix.endpoint.create(app_id, EndpointIn(url=url))) == [["body", "url"]]

    async def test_an_allowed_network_may_be_reached(self, svix: SvixAsync, app_id: str) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url="http://127.0.0.1:9000/x"))

        assert made.url == "http://127.0.0.1:9000/x"

    async def test_a_filter_takes_living_event_types_only(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        for name in ("live", "old"):
            await svix.event_type.create(EventTypeIn(name=name, description=""))
        await svix.event_type.delete("old")

        for types in (["live", "old"], ["unknown"], []):
            body = EndpointIn(url=URL, event_types=types)
            assert await invalid(svix.endpoint.create(app_id, body)) == [["body", "eventTypes"]]

    async def test_a_filter_keeps_a_type_that_was_archived_later(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        await svix.event_type.create(EventTypeIn(name="a", description=""))
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL, event_types=["a"]))
        await svix.event_type.delete("a")

        changed = await svix.endpoint.patch(app_id, made.id, EndpointPatch(description="x"))

        assert changed.event_types == ["a"]

    async def test_put_replaces_but_keeps_secret_and_headers(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.endpoint.create(
            app_id, EndpointIn(url=URL, uid="u", channels=["c"], headers={"X-A": "1"})
        )
        secret = await svix.endpoint.get_secret(app_id, made.id)

        replaced = await svix.endpoint.upsert(
            app_id, "u", EndpointUpsertIn(url=f"{URL}2", disabled=True)
        )

        assert (replaced.id, replaced.url, replaced.disabled) == (made.id, f"{URL}2", True)
        assert (replaced.uid, replaced.channels) == (None, None)
        assert await svix.endpoint.get_secret(app_id, made.id) == secret
        assert (await svix.endpoint.get_headers(app_id, made.id)).headers == {"X-A": "1"}

    async def test_put_makes_a_new_one(self, svix: SvixAsync, app_id: str) -> None:
        made = await svix.endpoint.upsert(app_id, "new", EndpointUpsertIn(url=URL, uid="new"))

        assert (await svix.endpoint.get(app_id, "new")).id == made.id

    async def test_patch_changes_what_it_names_and_null_clears(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        await svix.event_type.create(EventTypeIn(name="a", description=""))
        made = await svix.endpoint.create(
            app_id,
            EndpointIn(url=URL, uid="u", event_types=["a"], channels=["c"], throttle_rate=1),
        )

        cleared = await svix.endpoint.patch(
            app_id, made.id, EndpointPatch(event_types=None, throttle_rate=None)
        )
        off = await svix.endpoint.patch(app_id, made.id, EndpointPatch(disabled=True))

        assert (cleared.event_types, cleared.throttle_rate) == (None, None)
        assert (cleared.channels, cleared.uid, cleared.url) == (["c"], "u", URL)
        assert off.disabled is True

    async def test_a_taken_uid_is_a_conflict_within_the_app_only(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        other = await svix.application.create(ApplicationIn(name="Other"))
        await svix.endpoint.create(app_id, EndpointIn(url=URL, uid="u"))

        await svix.endpoint.create(other.id, EndpointIn(url=URL, uid="u"))

        await refused(svix.endpoint.create(app_id, EndpointIn(url=URL, uid="u")), 409, "conflict")

    async def test_another_apps_endpoint_is_not_found(self, svix: SvixAsync, app_id: str) -> None:
        other = await svix.application.create(ApplicationIn(name="Other"))
        made = await svix.endpoint.create(other.id, EndpointIn(url=URL))

        await refused(svix.endpoint.get(app_id, made.id), 404)
        await refused(svix.endpoint.delete(app_id, made.id), 404)
        await refused(svix.endpoint.patch(app_id, made.id, EndpointPatch(url=URL)), 404)
        await refused(svix.endpoint.get_secret(app_id, made.id), 404)

    async def test_a_list_is_newest_first(self, svix: SvixAsync, app_id: str) -> None:
        new = [await svix.endpoint.create(app_id, EndpointIn(url=f"{URL}/{n}")) for n in range(3)]
        made = sorted(endpoint.id for endpoint in new)

        page = await svix.endpoint.list(app_id, EndpointListOptions(limit=2))
        rest = await svix.endpoint.list(
            app_id, EndpointListOptions(limit=2, iterator=page.iterator)
        )

        ids = [endpoint.id for endpoint in (*page.data, *rest.data)]
        assert ids == made[::-1]
        assert (page.done, rest.done) == (False, True)

    async def test_a_change_of_what_is_owed_wakes_the_owner_of_the_shard(
        self, svix: SvixAsync, app_id: str, gateway: Gateway, bus: Client
    ) -> None:
        shard = shard_of(app_id, SHARDS)
        rings = await bus.subscribe(f"wake.{shard}")
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))

        await svix.endpoint.patch(app_id, made.id, EndpointPatch(disabled=True))

        await rings.next_msg(timeout=5)
        async with gateway.pool.acquire() as link:
            row = await link.fetchrow(
                "SELECT shard, app_id, endpoint_id FROM wake WHERE app_id = $1", app_id
            )
        assert tuple(row) == (shard, app_id, made.id)

    async def test_a_deleted_app_takes_its_endpoints_secrets_and_keys_along(
        self, svix: SvixAsync, app_id: str, gateway: Gateway
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))
        key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app_id)
        await gateway.svix(key).endpoint.get(app_id, made.id)

        await svix.application.delete(app_id)

        await refused(svix.endpoint.list(app_id), 404)
        async with gateway.pool.acquire() as link:
            left = await link.fetchrow(
                """SELECT (SELECT count(*) FROM endpoint_secret WHERE app_id = $1) AS secrets,
                          (SELECT count(*) FROM endpoint
                           WHERE app_id = $1 AND deleted_at IS NULL) AS endpoints,
                          (SELECT count(*) FROM wake WHERE app_id = $1) AS woken""",
                app_id,
            )
        assert tuple(left) == (0, 0, 1)
        await eventually_refused(gateway, key, 401)


class TestSecrets:
    KEY = "whsec_C2FVsBQIhrscChlQIMMKD0w0Hc9YmpSOl5m4bN1SFJk="

    async def test_a_generated_secret_is_good_for_verifying(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))

        secret = (await svix.endpoint.get_secret(app_id, made.id)).key

        assert secret.startswith("whsec_")

    async def test_a_given_secret_is_kept_and_sealed(
        self, svix: SvixAsync, app_id: str, gateway: Gateway
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL, secret=self.KEY))

        shown = (await svix.endpoint.get_secret(app_id, made.id)).key

        async with gateway.pool.acquire() as link:
            sealed = await link.fetchval(
                "SELECT sealed FROM endpoint_secret WHERE endpoint_id = $1", made.id
            )
        assert shown == self.KEY
        opened = VAULT.open(sealed, context=f"{app_id}/{made.id}".encode())
        assert opened not in sealed

    async def test_of_an_ed25519_secret_the_public_half_is_shown(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        private = (
            "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9l"
            "MicMFs6Kvg=="
        )
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL, secret=private))

        shown = (await svix.endpoint.get_secret(app_id, made.id)).key

        assert shown == "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="

    @pytest.mark.parametrize(
        "secret", ["whsec_C2FVsBQIhrscChlQIM+b5sSYspob", "hwsec_" + "A" * 32, "whsec_%%%"]
    )
    async def test_a_secret_that_cannot_sign_is_refused(
        self, svix: SvixAsync, app_id: str, secret: str
    ) -> None:
        body = EndpointIn(url=URL, secret=secret)

        assert await invalid(svix.endpoint.create(app_id, body)) == [["body", "secret"]]

    async def test_a_rotation_answers_with_the_new_secret_and_keeps_the_old_one_for_a_day(
        self, svix: SvixAsync, app_id: str, gateway: Gateway
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))

        given = await svix.endpoint.rotate_secret(
            app_id, made.id, EndpointSecretRotateIn(key=self.KEY)
        )
        generated = await svix.endpoint.rotate_secret(
            app_id, made.id, EndpointSecretRotateIn(grace_period_seconds=0)
        )

        async with gateway.pool.acquire() as link:
            rows = await link.fetch(
                """SELECT expires_at FROM endpoint_secret WHERE endpoint_id = $1
                   ORDER BY created_at""",
                made.id,
            )
        ends = [row["expires_at"] for row in rows]
        day = datetime.now(UTC) + timedelta(days=1)
        assert given.key == self.KEY
        assert generated == await svix.endpoint.get_secret(app_id, made.id) != given
        assert abs(ends[0] - day) < timedelta(minutes=1)
        assert ends[1] <= datetime.now(UTC)
        assert ends[2] is None

    async def test_the_current_secret_may_be_passed_back(
        self, svix: SvixAsync, app_id: str, gateway: Gateway
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL, secret=self.KEY))

        await svix.endpoint.rotate_secret(app_id, made.id, EndpointSecretRotateIn(key=self.KEY))

        async with gateway.pool.acquire() as link:
            secrets = await link.fetch(
                "SELECT id FROM endpoint_secret WHERE endpoint_id = $1", made.id
            )
        assert len(secrets) == 1

    async def test_a_rotation_takes_an_empty_body(self, gateway: Gateway, app_id: str) -> None:
        async with gateway.http() as http:
            made = (await http.post(f"/api/v1/app/{app_id}/endpoint", json={"url": URL})).json()
            path = f"/api/v1/app/{app_id}/endpoint/{made['id']}/secret/rotate"
            answers = [await http.post(path, content=body) for body in (b"", b"null", b"{}")]

        assert [answered.status_code for answered in answers] == [200, 200, 200]
        assert all(answered.json()["key"].startswith("whsec_") for answered in answers)

    async def test_a_rotation_answers_nothing_to_the_first_version_of_svix_sdks(
        self, gateway: Gateway, app_id: str
    ) -> None:
        async with gateway.http() as http:
            made = (await http.post(f"/api/v1/app/{app_id}/endpoint", json={"url": URL})).json()
            path = f"/api/v1/app/{app_id}/endpoint/{made['id']}/secret/rotate"
            first = await http.post(path, headers={"user-agent": "svix-libs/1.99.1/java"})
            second = await http.post(path, headers={"user-agent": "svix-libs/2.0.0/python"})

        assert (first.status_code, first.content) == (204, b"")
        assert second.status_code == 200

    async def test_no_more_than_ten_old_secrets_sign_at_a_time(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))
        for _ in range(10):
            await svix.endpoint.rotate_secret(app_id, made.id, EndpointSecretRotateIn())

        once_more = svix.endpoint.rotate_secret(app_id, made.id, EndpointSecretRotateIn())

        await refused(once_more, 400, "limit_reached")


class TestHeaders:
    async def test_headers_are_set_replaced_and_credentials_hidden(
        self, svix: SvixAsync, app_id: str
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL, headers={"X-Old": "1"}))

        await svix.endpoint.set_headers(
            app_id, made.id, EndpointHeadersIn(headers={"X-New": "1", "Authorization": "s"})
        )

        got = await svix.endpoint.get_headers(app_id, made.id)
        assert (got.headers, got.sensitive) == ({"X-New": "1"}, ["Authorization"])

    async def test_a_patch_sets_and_deletes(self, svix: SvixAsync, app_id: str) -> None:
        made = await svix.endpoint.create(
            app_id, EndpointIn(url=URL, headers={"X-Keep": "1", "X-Drop": "1"})
        )

        await svix.endpoint.patch_headers(
            app_id,
            made.id,
            EndpointHeadersPatchIn(headers={"X-New": "2"}, delete_headers=["X-Drop"]),
        )

        got = await svix.endpoint.get_headers(app_id, made.id)
        assert got.headers == {"X-Keep": "1", "X-New": "2"}

    async def test_a_null_removes(self, gateway: Gateway, svix: SvixAsync, app_id: str) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL, headers={"X-A": "1"}))

        async with gateway.http() as http:
            path = f"/api/v1/app/{app_id}/endpoint/{made.id}/headers"
            answered = await http.patch(path, json={"headers": {"x-a": None}})

        assert answered.status_code == 204
        assert (await svix.endpoint.get_headers(app_id, made.id)).headers == {}

    async def test_a_reserved_header_is_refused(self, svix: SvixAsync, app_id: str) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))
        body = EndpointHeadersIn(headers={"Content-Length": "1"})

        assert await invalid(svix.endpoint.set_headers(app_id, made.id, body)) == [
            ["body", "headers"]
        ]


class TestStats:
    async def test_attempts_and_what_is_owed_are_counted(
        self, svix: SvixAsync, app_id: str, gateway: Gateway
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))
        async with gateway.pool.acquire() as link:
            await link.execute(
                """INSERT INTO rollup_minute (app_id, endpoint_id, bucket, delivered, status_4xx,
                                              no_answer)
                   VALUES ($1, $2, date_trunc('minute', now()), 3, 1, 1),
                          ($1, $2, now() - interval '27 days', 2, 0, 0),
                          ($1, $2, now() - interval '29 days', 9, 9, 9)""",
                app_id,
                made.id,
            )

        whole = await svix.endpoint.get_stats(app_id, made.id)
        short = await svix.endpoint.get_stats(
            app_id,
            made.id,
            EndpointGetStatsOptions(since=datetime.now(UTC) - timedelta(days=1)),
        )

        assert (whole.success, whole.fail, whole.pending, whole.sending, whole.canceled) == (
            5,
            2,
            0,
            0,
            0,
        )
        assert short.success == 3

    @pytest.mark.parametrize(
        "query",
        ["since=2020-01-01T00:00:00Z", "until=2999-01-01T00:00:00Z", "until=0001-01-01T00:00:00Z"],
    )
    async def test_a_window_that_cannot_be_counted_is_refused(
        self, gateway: Gateway, svix: SvixAsync, app_id: str, query: str
    ) -> None:
        made = await svix.endpoint.create(app_id, EndpointIn(url=URL))

        async with gateway.http() as http:
            answered = await http.get(f"/api/v1/app/{app_id}/endpoint/{made.id}/stats?{query}")

        if query.startswith("until=0001"):
            assert answered.json()["success"] == 0
        else:
            assert (answered.status_code, answered.json()["code"]) == (400, "invalid_range")


class TestEventTypes:
    async def test_an_event_type_is_made_changed_and_archived(self, svix: SvixAsync) -> None:
        schemas = {"1": {"type": "object", "required": ["id"]}}
        made = await svix.event_type.create(
            EventTypeIn(
                name="a.b",
                description="d",
                schemas=schemas,
                group_name="a",
                feature_flags=["beta"],
                deprecated=True,
            )
        )

        patched = await svix.event_type.patch("a.b", EventTypePatch(description="e", schemas={}))
        await svix.event_type.delete("a.b")
        archived = await svix.event_type.get("a.b")

        assert (made.schemas, made.group_name, made.deprecated) == (schemas, "a", True)
        assert (made.feature_flag, made.feature_flags) == ("beta", ["beta"])
        assert (patched.description, patched.schemas, patched.group_name) == ("e", {}, "a")
        assert archived.archived is True

    async def test_one_in_use_is_a_conflict_and_an_archived_one_comes_back(
        self, svix: SvixAsync
    ) -> None:
        await svix.event_type.create(EventTypeIn(name="a", description="old"))
        await refused(
            svix.event_type.create(EventTypeIn(name="a", description="")), 409, "event_type_exists"
        )
        await svix.event_type.delete("a")

        again = await svix.event_type.create(EventTypeIn(name="a", description="new"))

        assert (again.archived, again.description) == (False, "new")

    async def test_put_makes_and_replaces(self, svix: SvixAsync) -> None:
        made = await svix.event_type.upsert("a", EventTypeUpsertIn(description="1", group_name="g"))

        replaced = await svix.event_type.upsert("a", EventTypeUpsertIn(description="2"))

        assert (made.name, made.group_name) == ("a", "g")
        assert (replaced.description, replaced.group_name) == ("2", None)
        assert replaced.created_at == made.created_at

    async def test_an_expunged_one_is_gone(self, svix: SvixAsync) -> None:
        await svix.event_type.create(EventTypeIn(name="a", description=""))

        await svix.event_type.delete("a", EventTypeDeleteOptions(expunge=True))

        await refused(svix.event_type.get("a"), 404)

    async def test_lists_hide_archived_ones_and_schemas_unless_asked(self, svix: SvixAsync) -> None:
        for name in ("c", "a", "b"):
            await svix.event_type.create(
                EventTypeIn(name=name, description="", schemas={"1": {"type": "object"}})
            )
        await svix.event_type.delete("b")

        plain = await svix.event_type.list()
        full = await svix.event_type.list(
            EventTypeListOptions(include_archived=True, with_content=True, limit=2)
        )

        assert [(e.name, e.schemas) for e in plain.data] == [("a", None), ("c", None)]
        assert [e.name for e in full.data] == ["a", "b"]
        assert full.data[0].schemas == {"1": {"type": "object"}}
        assert (full.iterator, full.done) == ("b", False)

    @pytest.mark.parametrize(
        "schemas", [{"1": {"readOnly": 15}}, {"1": 3}, {"1": {"type": "no such"}}]
    )
    async def test_what_is_no_json_schema_is_refused(
        self, svix: SvixAsync, schemas: dict[str, object]
    ) -> None:
        body = EventTypeIn(name="a", description="", schemas=schemas)

        assert await invalid(svix.event_type.create(body)) == [["body", "schemas"]]

    async def test_a_bottomless_schema_is_refused(self, gateway: Gateway) -> None:
        deep = '{"a":' * 300 + "1" + "}" * 300
        body = f'{{"name": "a", "description": "", "schemas": {{"1": {deep}}}}}'

        async with gateway.http() as http:
            answered = await http.post("/api/v1/event-type", content=body)

        assert answered.status_code == 422

    async def test_the_older_name_of_a_feature_flag_is_understood(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            answered = await http.post(
                "/api/v1/event-type", json={"name": "a", "description": "", "featureFlag": "f"}
            )

        assert answered.json()["featureFlags"] == ["f"]


class TestWhoMayDoWhat:
    async def test_without_a_key_that_counts_nothing_is_answered(self, gateway: Gateway) -> None:
        expired = await make_key(
            gateway.pool,
            gateway.environment_id,
            expires_at=datetime.now(UTC) - timedelta(seconds=1),
        )
        for key in ("nonsense", mint(), expired, f"{gateway.key}x"):
            error = await refused(
                gateway.svix(key).application.list(), 401, "authentication_failed"
            )
            assert error.detail

    async def test_a_key_of_an_app_reaches_its_app_and_no_other(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        other = await svix.application.create(ApplicationIn(name="Other", uid="other"))
        foreign = await svix.endpoint.create(other.id, EndpointIn(url=URL))
        key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app_id)
        tenant = gateway.svix(key)

        made = await tenant.endpoint.create(app_id, EndpointIn(url=URL))
        await tenant.endpoint.get_secret("tenant", made.id)
        await tenant.event_type.list()

        assert (await tenant.application.get(app_id)).id == app_id
        for ref in (other.id, "other"):
            await refused(tenant.application.get(ref), 404)
            await refused(tenant.endpoint.list(ref), 404)
            await refused(tenant.endpoint.get(ref, foreign.id), 404)
        for call in (
            tenant.application.list(),
            tenant.application.create(ApplicationIn(name="x")),
            tenant.application.delete(app_id),
            tenant.event_type.create(EventTypeIn(name="x", description="")),
        ):
            await refused(call, 403, "insufficient access")

    async def test_a_flagged_event_type_is_hidden_from_apps(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        await svix.event_type.create(
            EventTypeIn(name="beta", description="", feature_flags=["beta"])
        )
        key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app_id)
        tenant = gateway.svix(key)

        await refused(tenant.event_type.get("beta"), 404)
        assert (await tenant.event_type.list()).data == []
        assert len((await svix.event_type.list()).data) == 1

    async def test_two_environments_see_nothing_of_each_other(
        self, gateway: Gateway, svix: SvixAsync, app_id: str
    ) -> None:
        async with gateway.http() as http:
            made = await http.post(
                "/api/v1/management/environment", json={"name": "Test", "type": "development"}
            )
        other = gateway.svix(f"{gateway.key}|{made.json()['id']}")
        own = await make_key(gateway.pool, made.json()["id"])

        twin = await other.application.create(ApplicationIn(name="Twin", uid="tenant"))

        assert [app.id for app in (await svix.application.list()).data] == [app_id]
        for stranger in (other, gateway.svix(own)):
            assert [app.id for app in (await stranger.application.list()).data] == [twin.id]
            await refused(stranger.application.get(app_id), 404)
            await refused(stranger.endpoint.list(app_id), 404)
            assert (await stranger.application.get("tenant")).id == twin.id

    async def test_a_key_of_one_environment_cannot_choose_another(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            made = await http.post(
                "/api/v1/management/environment", json={"name": "Test", "type": "development"}
            )
        own = await make_key(gateway.pool, made.json()["id"])

        await refused(gateway.svix(f"{own}|{gateway.environment_id}").application.list(), 401)
        await gateway.svix(f"{own}|{made.json()['id']}").application.list()
        unknown = gateway.svix(f"{gateway.key}|org_{'0' * 27}")
        await refused(unknown.application.list(), 401)

    async def test_a_caller_is_told_who_they_are(self, gateway: Gateway, app_id: str) -> None:
        key = await make_key(gateway.pool, gateway.environment_id, kind=KeyKind.APP, app_id=app_id)

        async with gateway.http() as http, gateway.http(key) as tenant:
            operator = (await http.get("/api/v1/auth/whoami")).json()
            app = (await tenant.get("/api/v1/auth/whoami")).json()

        assert operator["permissionSource"] == "GlobalAuthToken"
        assert (operator["envId"], operator["appId"]) == (gateway.environment_id, None)
        assert (app["permissionSource"], app["appId"]) == ("RegionalAuthToken", app_id)

    async def test_the_use_of_a_key_is_written_down(self, gateway: Gateway) -> None:
        await gateway.svix().application.list()

        await gateway.app.state.parts.keys.write()

        async with gateway.pool.acquire() as link:
            used = await link.fetchval(
                "SELECT last_used_at FROM api_key WHERE environment_id = $1",
                gateway.environment_id,
            )
        assert datetime.now(UTC) - used < timedelta(minutes=1)


async def eventually_refused(gateway: Gateway, key: str, status: int) -> None:
    """Wait until a key counts no more, at most as long as we promise."""
    async with asyncio.timeout(1.0), gateway.http(key) as http:
        while (await http.get("/api/v1/event-type")).status_code != status:
            await asyncio.sleep(0.005)


class TestManagement:
    ALL = "/api/v1/management/environment"

    async def test_an_environment_is_made_renamed_and_deleted(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            made = await http.post(self.ALL, json={"name": "Test", "type": "development"})
            path = f"{self.ALL}/{made.json()['id']}"
            renamed = await http.put(path, json={"name": "New", "retryPolicy": {"attempts": 3}})
            read = await http.get(path)
            listed = await http.get(self.ALL, params={"order": "descending"})
            deleted = await http.delete(path)
            gone = await http.get(path)

        assert made.status_code == 201
        assert made.json()["region"] == "self-hosted"
        assert made.json()["type"] == "development"
        assert renamed.json() == read.json()
        assert (read.json()["name"], read.json()["retryPolicy"]) == ("New", [1, 2])
        assert read.json() in listed.json()["data"]
        assert (deleted.status_code, gone.status_code) == (204, 404)

    async def test_the_default_environment_stays(self, shared: Gateway) -> None:
        async with shared.http() as http:
            answered = await http.delete(f"{self.ALL}/{shared.environment_id}")

        assert answered.status_code == 400

    async def test_a_deleted_environments_keys_count_no_more(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            made = await http.post(self.ALL, json={"name": "Test", "type": "development"})
            own = await make_key(gateway.pool, made.json()["id"])
            await gateway.svix(own).application.list()
            await http.delete(f"{self.ALL}/{made.json()['id']}")

        await refused(gateway.svix(own).application.list(), 401)
        chosen = f"{gateway.key}|{made.json()['id']}"
        await refused(gateway.svix(chosen).application.list(), 401)

    async def test_management_takes_a_key_of_all_environments(self, gateway: Gateway) -> None:
        own = await make_key(gateway.pool, gateway.environment_id)

        async with gateway.http(own) as http:
            answered = await http.get(self.ALL)

        assert answered.status_code == 403

    async def test_a_key_is_made_shown_once_renamed_and_ended(self, gateway: Gateway) -> None:
        tokens = f"/api/v1/management/authentication/{gateway.environment_id}/api-token"
        async with gateway.http() as http:
            made = (await http.post(tokens, json={"name": "ci"})).json()
            path = f"{tokens}/{made['id']}"
            fresh = gateway.svix(made["token"])
            await fresh.application.list()
            renamed = (await http.patch(path, json={"name": "cd"})).json()
            read = (await http.get(path)).json()
            listed = (await http.get(tokens)).json()["data"]
            ended = await http.post(f"{path}/expire", json={"expiry": 0})
            left = (await http.get(tokens)).json()["data"]

        assert made["token"].startswith("hk_")
        assert renamed == read
        assert (read["name"], read["scopes"], read["expiresAt"]) == ("cd", None, None)
        assert read["censoredToken"] == f"hk_***{made['token'][-4:]}"
        assert "token" not in read
        assert [len(listed), len(left)] == [2, 1]
        assert ended.status_code == 204
        await refused(fresh.application.list(), 401)

    async def test_a_key_revoked_by_anybody_counts_no_more_within_a_second(
        self, gateway: Gateway
    ) -> None:
        key = await make_key(gateway.pool, gateway.environment_id)
        await gateway.svix(key).application.list()

        async with gateway.pool.acquire() as link:
            await link.execute("UPDATE api_key SET revoked_at = now() WHERE hint = $1", key[-4:])

        await eventually_refused(gateway, key, 401)


class TestTwoGateways:
    async def test_an_app_deleted_at_one_is_gone_at_the_other_within_a_second(
        self, gateway: Gateway, svix: SvixAsync, app_id: str, bus: Client
    ) -> None:
        async with serve(gateway.pool, bus) as second, second.http(gateway.key) as http:
            path = f"/api/v1/app/{app_id}/endpoint"
            assert (await http.get(path)).status_code == 200

            await svix.application.delete(app_id)

            async with asyncio.timeout(1.0):
                while (await http.get(path)).status_code != 404:
                    await asyncio.sleep(0.005)

    async def test_the_caches_start_anew_when_the_connections_break(
        self, gateway: Gateway, app_id: str
    ) -> None:
        cache = gateway.app.state.parts.apps.cache
        path = f"/api/v1/app/{app_id}/endpoint"
        async with gateway.http() as http:
            await http.get(path)
            assert len(cache) > 0

            async with gateway.pool.acquire() as link:
                await link.execute(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE datname = current_database() AND pid <> pg_backend_pid()"""
                )

            async with asyncio.timeout(10):
                while len(cache) > 0:
                    await asyncio.sleep(0.005)
                while not cache.hears or (await http.get(path)).status_code != 200:
                    await asyncio.sleep(0.005)


class TestTheDoor:
    async def test_a_trailing_slash_makes_no_difference(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            answers = [await http.get(path) for path in ("/api/v1/app", "/api/v1/app/")]

        assert [answered.status_code for answered in answers] == [200, 200]

    async def test_what_is_not_served_is_a_json_404(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            answers = [
                await http.get(path) for path in ("/", "/api/v1", "/api/v1/none", "/api/v1/app/a/b")
            ]

        for answered in answers:
            assert answered.status_code == 404
            assert answered.json().keys() == {"code", "detail"}

    async def test_an_unknown_method_is_a_json_405_that_names_the_known_ones(
        self, gateway: Gateway
    ) -> None:
        async with gateway.http() as http:
            answered = await http.delete("/api/v1/app")

        assert answered.status_code == 405
        assert answered.json()["code"] == "method_not_allowed"
        assert answered.headers["allow"] == "GET, POST"

    async def test_any_origin_may_call(self, gateway: Gateway) -> None:
        async with plain_client(base_url=gateway.url) as http:
            asked = await http.options(
                "/api/v1/app",
                headers={
                    "origin": "https://console.example",
                    "access-control-request-method": "PATCH",
                    "access-control-request-headers": "authorization, svix-req-id",
                },
            )

        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "*"
        assert asked.headers["access-control-max-age"] == "600"

    async def test_every_answer_names_its_request(self, gateway: Gateway) -> None:
        async with gateway.http() as http:
            named = await http.get("/api/v1/app", headers={"x-request-id": "mine-1"})
            unnamed = await http.get("/api/v1/none", headers={"x-request-id": "not\tplain"})

        assert named.headers["x-request-id"] == "mine-1"
        assert len(unnamed.headers["x-request-id"]) == 16

    async def test_a_body_past_the_limit_is_refused_however_it_is_sent(
        self, gateway: Gateway
    ) -> None:
        async def endless() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b" " * 65_536

        async with gateway.http() as http:
            declared = await http.post("/api/v1/app", content=b" " * 4_000_000)
            chunked = await http.post("/api/v1/app", content=endless())

        for answered in (declared, chunked):
            assert answered.status_code == 413
            assert answered.json()["code"] == "payload_too_large"

    @pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"[" * 50_000])
    async def test_what_is_no_object_is_invalid(self, gateway: Gateway, body: bytes) -> None:
        async with gateway.http() as http:
            answered = await http.post("/api/v1/app", content=body)

        assert answered.status_code == 422
        assert answered.json()["detail"][0]["loc"] == ["body"]

    @pytest.mark.parametrize("ref", ["%00", "a%20b", "%F0%9F%98%80", "a" * 300])
    async def test_a_path_that_can_name_nothing_names_nothing(
        self, gateway: Gateway, app_id: str, ref: str
    ) -> None:
        async with gateway.http() as http:
            paths = [
                f"/api/v1/app/{ref}",
                f"/api/v1/app/{ref}/endpoint",
                f"/api/v1/app/{app_id}/endpoint/{ref}",
                f"/api/v1/event-type/{ref}",
                f"/api/v1/management/environment/{ref}",
            ]
            answers = [await http.get(path) for path in paths]

        assert [answered.status_code for answered in answers] == [404] * len(paths)

    async def test_health_tells_of_the_parts(self, gateway: Gateway, svix: SvixAsync) -> None:
        async with plain_client(base_url=gateway.url) as http:
            full = await http.get("/api/v1/health/")
            head = await http.head("/api/v1/health")
            ping = await http.get("/api/v1/health/ping")

        await svix.health.get()
        assert full.status_code == head.status_code == 200
        assert full.json() == {part: {"status": "ok"} for part in ("database", "queue", "cache")}
        assert (ping.status_code, ping.content) == (204, b"")
