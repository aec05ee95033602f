"""How an endpoint is reached, set by the API: what is taken, shown and kept; and that it counts."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from svix.api import ApplicationIn, EndpointIn, MessageIn, SvixAsync

from schema.api_key import Capability, KeyKind
from schema.delivery import State
from tests.authorization import AuthorizationServer
from tests.certificates import asking, authority_pem, issue, key_pem, new_key
from tests.dispatching import eventually
from tests.gateway_server import Gateway, make_key
from tests.receiver import Received, Receiver, make_authority
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")

SERVERS, CLIENTS = make_authority(), make_authority()
CA = authority_pem(SERVERS)
CLIENT = issue(CLIENTS, name="Hookline")
NOW = datetime.now(UTC)
KEY = new_key("rsa2048")
OAUTH: Mapping[str, Any] = {
    "grantType": "clientCredentials",
    "authMethod": "clientSecretBasic",
    "clientId": "hookline",
    "clientSecret": "s3cret",
    "tokenUrl": "https://auth.example.com/token",
}
JWT = {
    "secretBase64": base64.b64encode(key_pem(KEY).encode()).decode(),
    "signingAlgorithm": "RS256",
}


def path(tenant: Tenant, part: str, endpoint: str = "e1") -> str:
    return f"/api/v1/app/{tenant.uid}/endpoint/{endpoint}/{part}"


async def put(http: httpx.AsyncClient, where: str, body: object) -> None:
    answered = await http.put(where, json=body)
    assert answered.status_code == 204, answered.text


async def faults(http: httpx.AsyncClient, where: str, body: object) -> dict[str, str]:
    """Give what is said of each field that is not as it must be."""
    answered = await http.put(where, json=body)
    assert answered.status_code == 422, answered.text
    return {".".join(one["loc"][1:]): one["msg"] for one in answered.json()["detail"]}


class TestAuthorities:
    async def test_they_are_given_back_as_they_were_set(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        assert (await http.get(path(tenant, "ca"))).json() == {"cert": None, "expiresAt": None}

        await put(http, path(tenant, "ca"), {"cert": CA})

        shown = (await http.get(path(tenant, "ca"))).json()
        assert shown["cert"] == CA
        ends_at = SERVERS.certificate.not_valid_after_utc
        assert datetime.fromisoformat(shown["expiresAt"]) == ends_at
        assert (await http.get(path(tenant, "ca", "e2"))).json()["cert"] is None

    @pytest.mark.parametrize("body", [{"cert": None}, {}])
    async def test_null_is_the_usual_ones(
        self, http: httpx.AsyncClient, tenant: Tenant, body: object
    ) -> None:
        await put(http, path(tenant, "ca"), {"cert": CA})

        await put(http, path(tenant, "ca"), body)

        assert (await http.get(path(tenant, "ca"))).json()["cert"] is None

    async def test_what_cannot_be_used_is_refused_and_changes_nothing(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await put(http, path(tenant, "ca"), {"cert": CA})
        old = issue(None, name="Old", ends=NOW - timedelta(days=1)).pem

        said = [
            await faults(http, path(tenant, "ca"), {"cert": cert})
            for cert in (old, CLIENT.identity, "", 7)
        ]

        assert said[0] == {"cert": f"CN=Old expired on {(NOW - timedelta(days=1)).date()}"}
        assert "private key" in said[1]["cert"]
        assert "no certificate" in said[2]["cert"]
        assert (await http.get(path(tenant, "ca"))).json()["cert"] == CA


class TestIdentity:
    async def test_who_we_are_is_told_and_the_key_never_shown(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        none = await http.get(path(tenant, "mtls"))
        off = await http.get(path(tenant, "mtls-config"))

        await put(http, path(tenant, "mtls"), {"identity": CLIENT.identity})

        shown = (await http.get(path(tenant, "mtls"))).json()
        assert (none.status_code, none.json()["code"]) == (404, "not_found")
        assert off.json() == {"enabled": False, "config": None}
        assert shown.keys() == {"subject", "expiresAt"}
        assert shown["subject"] == "CN=Hookline"
        on = (await http.get(path(tenant, "mtls-config"))).json()
        assert on == {"enabled": True, "config": shown}

    async def test_it_is_sealed_at_rest_and_bound_to_its_place(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await put(http, path(tenant, "mtls"), {"identity": CLIENT.identity})

        row = await tenant.link.fetchrow(
            "SELECT * FROM endpoint_certificate WHERE app_id = $1", tenant.app_id
        )
        assert row is not None
        assert b"PRIVATE" not in row["content"]
        [entry] = await tenant.audited("endpoint.set_mtls")
        assert entry["object"] == tenant.endpoint_id
        assert "PRIVATE" not in json.dumps(entry, default=str)

    async def test_it_is_gone_when_it_is_deleted(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await put(http, path(tenant, "mtls"), {"identity": CLIENT.identity})

        first, again = [await http.delete(path(tenant, "mtls")) for _ in range(2)]

        assert (first.status_code, again.status_code) == (204, 204)
        assert (await http.get(path(tenant, "mtls"))).status_code == 404

    async def test_what_does_not_belong_together_is_refused(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        mixed = key_pem(new_key()) + CLIENT.pem
        secret = key_pem(CLIENT.key, passphrase="sesame") + CLIENT.pem

        said = [
            await faults(http, path(tenant, "mtls"), body)
            for body in ({"identity": mixed}, {"identity": secret}, {}, {"identity": ""})
        ]

        assert said[0] == {"identity": "the private key is not that of a certificate here"}
        assert "encrypted" in said[1]["identity"]
        assert said[2] == {"identity": "is required"}
        assert (await http.get(path(tenant, "mtls"))).status_code == 404


class TestOauth:
    async def test_it_is_shown_without_secrets(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        none = await http.get(path(tenant, "oauth"))
        off = await http.get(path(tenant, "oauth-config"))
        more = {
            "scopes": ["hooks:write", "read"],
            "extraParams": {"audience": "hooks", "device_secret": "s3cret"},
            "extraHeaders": {"X-Realm": "one", "X-Api-Key": "s3cret"},
            "grantType": "refreshToken",
            "refreshToken": "s3cret",
        }

        await put(http, path(tenant, "oauth"), OAUTH | more)

        shown = await http.get(path(tenant, "oauth"))
        assert (none.status_code, off.json()) == (404, {"enabled": False, "config": None})
        assert shown.json() == {
            "grantType": "refreshToken",
            "authMethod": "clientSecretBasic",
            "clientId": "hookline",
            "tokenUrl": "https://auth.example.com/token",
            "scopes": ["hooks:write", "read"],
            "extraParams": {"audience": "hooks", "device_secret": "***"},
            "extraHeaders": {"X-Realm": "one", "X-Api-Key": "***"},
        }
        on = (await http.get(path(tenant, "oauth-config"))).json()
        assert on == {"enabled": True, "config": shown.json()}

    async def test_all_of_it_is_sealed_at_rest_and_nothing_of_it_audited(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        body = OAUTH | {"grantType": "refreshToken", "refreshToken": "s3cret"}
        await put(http, path(tenant, "oauth"), body)

        row = await tenant.link.fetchrow(
            "SELECT * FROM endpoint_oauth WHERE app_id = $1", tenant.app_id
        )
        [entry] = await tenant.audited("endpoint.set_oauth")
        assert row is not None
        assert b"s3cret" not in row["config"] + row["refresh_token"]
        assert "s3cret" not in json.dumps(entry, default=str)

    async def test_setting_it_anew_replaces_all_of_it(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await put(http, path(tenant, "oauth"), OAUTH | {"scopes": ["a"]})
        before = await tenant.link.fetchval("SELECT max(version) FROM endpoint_oauth")

        await put(
            http,
            path(tenant, "oauth"),
            OAUTH | {"authMethod": "clientSecretJwt", "jwtParams": JWT, "clientSecret": None},
        )

        shown = (await http.get(path(tenant, "oauth"))).json()
        assert (shown["authMethod"], shown["scopes"]) == ("clientSecretJwt", None)
        assert await tenant.link.fetchval("SELECT max(version) FROM endpoint_oauth") > before

    async def test_it_is_gone_when_it_is_deleted(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        await put(http, path(tenant, "oauth"), OAUTH)

        first, again = [await http.delete(path(tenant, "oauth")) for _ in range(2)]

        assert (first.status_code, again.status_code) == (204, 204)
        assert (await http.get(path(tenant, "oauth"))).status_code == 404

    WRONG: Mapping[str, tuple[Mapping[str, Any], dict[str, str]]] = {
        "nothing": (
            dict.fromkeys(OAUTH),
            dict.fromkeys(("grantType", "authMethod", "clientId", "tokenUrl"), "is required"),
        ),
        "words": (
            {"grantType": "password", "authMethod": "none"},
            {
                "grantType": "must be clientCredentials or refreshToken",
                "authMethod": "must be clientSecretJwt or clientSecretBasic or clientSecretPost",
            },
        ),
        "no-secret": ({"clientSecret": None}, {"clientSecret": "is required"}),
        "no-refresh-token": ({"grantType": "refreshToken"}, {"refreshToken": "is required"}),
        "no-jwt": ({"authMethod": "clientSecretJwt"}, {"jwtParams": "is required"}),
        "jwt": (
            {
                "authMethod": "clientSecretJwt",
                "jwtParams": {"signingAlgorithm": "none", "tokenExpirySecs": 0},
            },
            {
                "jwtParams.signingAlgorithm": "must be RS256",
                "jwtParams.secretBase64": "is required",
                "jwtParams.tokenExpirySecs": "must be 1 to 3600",
            },
        ),
        "jwt-key": (
            {"authMethod": "clientSecretJwt", "jwtParams": JWT | {"secretBase64": "AAAA"}},
            {"jwtParams.secretBase64": "the private key cannot be read"},
        ),
        "jwt-text": (
            {"authMethod": "clientSecretJwt", "jwtParams": "text"},
            {
                "jwtParams": "an object is expected",
                "jwtParams.signingAlgorithm": "is required",
                "jwtParams.secretBase64": "is required",
            },
        ),
        "inward": (
            {"tokenUrl": "http://169.254.169.254/latest"},
            {"tokenUrl": "Address not allowed."},
        ),
        "form": (
            {"tokenUrl": "auth.example.com"},
            {"tokenUrl": "The URL must have the form https://host/path."},
        ),
        "scope": ({"scopes": ["a b"]}, {"scopes.[0]": "must match ^[!#-\\[\\]-~]{1,256}$"}),
        "params": (
            {"extraParams": {"grant_type": "password"}},
            {"extraParams": "grant_type is set by the request itself"},
        ),
        "mask": (
            {"extraParams": {"a_secret": "***"}},
            {"extraParams": "*** stands for what is not shown: give the value"},
        ),
        "headers": (
            {"extraHeaders": {"Host": "evil.example.com"}},
            {"extraHeaders": "the header Host is reserved"},
        ),
        "twice": (
            {"extraHeaders": {"authorization": "Basic b3du"}},
            {"extraHeaders": "Authorization is set by clientSecretBasic itself"},
        ),
    }

    @pytest.mark.parametrize(("changes", "said"), WRONG.values(), ids=WRONG)
    async def test_what_is_not_as_it_must_be_is_refused_by_field(
        self,
        http: httpx.AsyncClient,
        tenant: Tenant,
        changes: Mapping[str, Any],
        said: dict[str, str],
    ) -> None:
        assert await faults(http, path(tenant, "oauth"), OAUTH | changes) == said
        assert (await http.get(path(tenant, "oauth"))).status_code == 404

    async def test_an_environment_that_wants_https_wants_it_here_too(
        self, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        body = OAUTH | {"tokenUrl": "http://auth.example.com/token"}
        await put(http, path(tenant, "oauth"), body)
        settings = await http.patch(
            "/api/v1/management/environment-settings", json={"enforceHttps": True}
        )
        assert settings.status_code == 200

        said = await faults(http, path(tenant, "oauth"), body)

        assert said == {"tokenUrl": "must begin with https:// in this environment (enforceHttps)"}


# What a portal's key with one capability may do: read, set.
HOLDERS = {
    Capability.VIEW_BASE: {"ca": (True, False), "mtls": (True, False), "oauth": (False, False)},
    Capability.VIEW_ENDPOINT_SECRET: {"mtls": (True, False), "oauth": (True, False)},
    Capability.MANAGE_ENDPOINT_SECRET: {
        "ca": (True, False),
        "mtls": (True, True),
        "oauth": (True, True),
    },
    Capability.MANAGE_ENDPOINT: {"ca": (True, True), "mtls": (True, True), "oauth": (True, True)},
}
BODIES = {"ca": {"cert": CA}, "mtls": {"identity": CLIENT.identity}, "oauth": OAUTH}


@pytest.mark.parametrize("capability", HOLDERS)
async def test_who_may_manage_secrets_may_set_what_is_secret(
    gateway: Gateway, tenant: Tenant, capability: Capability
) -> None:
    http = gateway.http()
    for part, body in BODIES.items():
        await put(http, path(tenant, part), body)
    key = await make_key(
        gateway.pool,
        gateway.environment_id,
        kind=KeyKind.PORTAL,
        app_id=tenant.app_id,
        capabilities=(Capability.VIEW_BASE, capability),
    )
    portal = gateway.http(key)

    for part, (reads, sets) in HOLDERS[capability].items():
        read = await portal.get(path(tenant, part))
        written = await portal.put(path(tenant, part), json=BODIES[part])

        assert read.status_code == (200 if reads else 403), part
        assert written.status_code == (204 if sets else 403), part


async def test_all_of_it_goes_with_the_endpoint_or_the_app(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    for endpoint in ("e1", "e2"):
        for part, body in BODIES.items():
            await put(http, path(tenant, part, endpoint), body)

    await http.delete(f"/api/v1/app/{tenant.uid}/endpoint/e1")

    assert await left(tenant) == (2, 1)
    await http.delete(f"/api/v1/app/{tenant.uid}")
    assert await left(tenant) == (0, 0)


async def left(tenant: Tenant) -> tuple[int, int]:
    row = await tenant.link.fetchrow(
        """SELECT (SELECT count(*) FROM endpoint_certificate WHERE app_id = $1) AS certificates,
                  (SELECT count(*) FROM endpoint_oauth WHERE app_id = $1) AS oauth""",
        tenant.app_id,
    )
    assert row is not None
    return row["certificates"], row["oauth"]


async def test_a_change_is_seen_in_the_endpoint(http: httpx.AsyncClient, tenant: Tenant) -> None:
    one = f"/api/v1/app/{tenant.uid}/endpoint/e1"
    seen = [(await http.get(one)).json()["updatedAt"]]
    for part, body in BODIES.items():
        await put(http, path(tenant, part), body)
        seen.append((await http.get(one)).json()["updatedAt"])

    assert sorted(set(seen)) == seen


async def test_certificates_that_expire_are_counted(
    http: httpx.AsyncClient, tenant: Tenant, desk: Desk
) -> None:
    await put(http, path(tenant, "mtls"), {"identity": CLIENT.identity})
    later = issue(None, ends=NOW + timedelta(days=100)).pem
    await put(http, path(tenant, "ca"), {"cert": later})
    await put(http, path(tenant, "ca", "e2"), {"cert": later})
    await desk.link.execute(
        """UPDATE endpoint_certificate SET ends_at = now() - interval '1 second'
           WHERE app_id = $1 AND endpoint_id = $2""",
        tenant.app_id,
        tenant.other_id,
    )

    counted = (await http.get("/metrics")).text

    assert 'hookline_endpoint_certificates{state="expired"} 1.0' in counted
    expiring = counted.split('hookline_endpoint_certificates{state="expiring"} ')[1]
    assert float(expiring.split()[0]) >= 1


async def of_message(receiver: Receiver, message_id: str) -> Received:
    """Wait for the request with a message."""

    def found() -> list[Received]:
        return [one for one in receiver.requests if one.header("webhook-id") == message_id]

    await eventually(lambda: bool(found()))
    return found()[0]


async def first_fault(http: httpx.AsyncClient, app_id: str, message_id: str) -> tuple[str, str]:
    """Wait for an attempt of a message; say why it got no answer."""
    where = f"/api/v1/app/{app_id}/attempt/msg/{message_id}"

    async def tried() -> bool:
        return bool((await http.get(where)).json()["data"])

    await eventually(tried)
    first = (await http.get(where)).json()["data"][-1]
    return first["fault"], first["detail"]


@pytest.mark.usefixtures("running")
async def test_what_is_set_counts_for_the_next_delivery(
    svix: SvixAsync, http: httpx.AsyncClient
) -> None:
    app = await svix.application.create(ApplicationIn(name="Acme", uid="acme"))
    async with (
        Receiver(tls=asking(SERVERS, CLIENTS)) as receiver,
        AuthorizationServer() as server,
    ):
        url = receiver.url("/hook", host="localhost")
        endpoint = await svix.endpoint.create(app.id, EndpointIn(url=url))
        one = f"/api/v1/app/{app.id}/endpoint/{endpoint.id}"
        unknown = await svix.message.create(app.id, MessageIn(event_type="a.b", payload={}))
        assert await first_fault(http, app.id, unknown.id) == (
            "tls",
            "the certificate's issuer is not trusted",
        )
        await put(http, f"{one}/ca", {"cert": CA})
        await put(http, f"{one}/mtls", {"identity": CLIENT.identity})
        await put(http, f"{one}/oauth", OAUTH | {"tokenUrl": server.token_url})

        message = await svix.message.create(app.id, MessageIn(event_type="a.b", payload={}))
        first = await of_message(receiver, message.id)

        await http.delete(f"{one}/oauth")
        last = await svix.message.create(app.id, MessageIn(event_type="a.b", payload={}))
        second = await of_message(receiver, last.id)

    assert (first.header("authorization"), second.header("authorization")) == ("Bearer t1", None)
    assert server.requests[0].header("authorization") == "Basic aG9va2xpbmU6czNjcmV0"
    attempts = await svix.message_attempt.list_by_msg(app.id, message.id)
    assert [attempt.response_status_code for attempt in attempts.data] == [200]


async def test_that_a_token_was_sent_is_told_and_not_which(
    http: httpx.AsyncClient, tenant: Tenant
) -> None:
    message_id = await tenant.owed(State.DELIVERED)
    attempts = [await tenant.tried(message_id), await tenant.tried(message_id, None, fault="oauth")]
    where = [f"/api/v1/app/{tenant.uid}/msg/{message_id}/attempt/{one}/headers" for one in attempts]
    before = (await http.get(where[0])).json()
    await put(http, path(tenant, "oauth"), OAUTH)

    sent, unsent = [(await http.get(one)).json() for one in where]

    assert before["sensitive"] == ["webhook-signature"]
    assert sent["sensitive"] == ["authorization", "webhook-signature"]
    assert (unsent["sentHeaders"], unsent["sensitive"]) == ({}, [])
