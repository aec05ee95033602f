"""Every operation there is, tried with every kind of key, and with what belongs to others.

Who may do what is said here once more, in other words than the guard's. A new operation is walked
without being named here; a new kind of path parameter too.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import pytest
import pytest_asyncio
from svix.api import EndpointSecretRotateIn, EndpointTransformationPatch, IntegrationIn

from gateway.app import operations
from gateway.auth import Access
from gateway.config import GatewayConfig
from gateway.routing import Operation
from gateway.svix_token import make_token, read_rules
from schema.api_key import Capability, KeyKind, mint
from schema.scope import ALL_SCOPES, Scope
from schema.store.link import Link
from tests import in_process, rows
from tests.certificates import issue
from tests.gateway_server import CONFIG, Gateway, make_environment, make_key, now
from tests.in_process import Said
from tests.tenants import Desk, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")
lent_to_the_module = pytest_asyncio.fixture(scope="module", loop_scope="module")

GUARDED = [operation for operation in operations() if isinstance(operation, Operation)]
SECRET: Final = "a secret of tests, as long as it has to be."
OTHER_SECRET: Final = "another secret, which nobody here believes."
RULES = read_rules("HS256", SECRET)
HOUR = timedelta(hours=1)
NOWHERE: Final = "nothing-there"
# How an endpoint is reached.
ACCESS: Final[Mapping[str, object]] = {
    "ca": {"cert": issue(None, name="others-client").pem},
    "mtls": {"identity": issue(None, name="others-client").identity},
    "oauth": {
        "grantType": "clientCredentials",
        "authMethod": "clientSecretPost",
        "clientId": "others-client",
        "clientSecret": "others-client-secret",
        "tokenUrl": "https://auth.example.com/token",
    },
}

# Which kinds of keys an operation takes.
TAKES: Mapping[Access, set[KeyKind]] = {
    Access.TENANT: {KeyKind.OPERATOR, KeyKind.APP, KeyKind.PORTAL, KeyKind.INTEGRATION},
    Access.READER: {
        KeyKind.OPERATOR,
        KeyKind.APP,
        KeyKind.PORTAL,
        KeyKind.INTEGRATION,
        KeyKind.POLLER,
    },
    Access.SERVICE: {KeyKind.OPERATOR, KeyKind.APP},
    Access.PORTAL: {KeyKind.PORTAL},
    Access.SUBSCRIBER: {
        KeyKind.OPERATOR,
        KeyKind.APP,
        KeyKind.PORTAL,
        KeyKind.INTEGRATION,
        KeyKind.AUTO_CONFIG,
    },
    Access.PUBLISHER: {KeyKind.OPERATOR},
    Access.OPERATOR: {KeyKind.OPERATOR},
    Access.INSTALLATION: {KeyKind.OPERATOR},
    Access.OWNER: {KeyKind.OPERATOR},
}
# What a group admin's key may do besides managing environments, by the beginnings of paths.
OF_GROUP_ADMINS: Final = tuple(
    f"/api/v1/{place}"
    for place in (
        "event-type",
        "environment/",
        "events",
        "operational-webhook",
        "alert-rule",
        "auth/whoami",
    )
)
SETTINGS = "/api/v1/management/environment-settings"
# What a portal's key with this capability beside ViewBase may do of what is not only looked at.
HELD: Mapping[Capability, set[Capability]] = {
    Capability.VIEW_BASE: {Capability.VIEW_BASE},
    Capability.VIEW_ENDPOINT_SECRET: {Capability.VIEW_ENDPOINT_SECRET},
    Capability.MANAGE_ENDPOINT_SECRET: {
        Capability.MANAGE_ENDPOINT_SECRET,
        Capability.VIEW_ENDPOINT_SECRET,
    },
    Capability.MANAGE_TRANSFORMATIONS: {Capability.MANAGE_TRANSFORMATIONS},
    Capability.CREATE_ATTEMPTS: {Capability.CREATE_ATTEMPTS},
    Capability.MANAGE_ENDPOINT: {
        Capability.MANAGE_ENDPOINT,
        Capability.MANAGE_ENDPOINT_SECRET,
        Capability.VIEW_ENDPOINT_SECRET,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Somebody who shows a key that counts.

    Attributes:
        of: Whose app and environment it is for: `own`, `other` (app) or `away` (environment).
        may: What it may do within the app; None is everything.
        everywhere: Whether it is one of all environments.
        publishes: Whether it publishes, and does nothing else.
    """

    name: str
    key: str
    kind: KeyKind
    of: str = "own"
    may: set[Capability] | None = None
    everywhere: bool = False
    publishes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Two apps of one environment, everything there can be of the second, and who asks."""

    gateway: Gateway
    link: Link
    own: Tenant
    other: Tenant
    others_things: Mapping[str, str]
    invalid: Mapping[str, str | None]
    holders: tuple[Holder, ...]


def named(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


every_operation = pytest.mark.parametrize("operation", GUARDED, ids=named)


@pytest.fixture(scope="module")
def config() -> GatewayConfig:
    return replace(CONFIG, tokens=RULES)


@lent_to_the_module
async def ground(shared: Gateway) -> AsyncIterator[Ground]:
    async with shared.pool.acquire() as link:
        desk = Desk(gateway=shared, link=link)
        own, other = await desk.tenant("own"), await desk.tenant("other")
        await shared.http().patch(SETTINGS, json={"enableTransformations": True})
        yield Ground(
            gateway=shared,
            link=link,
            own=own,
            other=other,
            others_things=MappingProxyType(await things_of(shared, other)),
            invalid=MappingProxyType(await invalid_keys(shared, own)),
            holders=await holders(shared, own, other),
        )


async def things_of(gateway: Gateway, tenant: Tenant) -> dict[str, str]:
    """Give ids of things of a tenant, for the parameters of paths."""
    letter = await tenant.parked()
    message = str((await tenant.letter(letter))["message_id"])
    svix = gateway.svix()
    await svix.endpoint.rotate_secret(tenant.app_id, tenant.endpoint_id, EndpointSecretRotateIn())
    await svix.endpoint.transformation.patch(
        tenant.app_id,
        tenant.endpoint_id,
        EndpointTransformationPatch(
            code="const handler = w => w; // Others' code", variables={"name": "Others' value"}
        ),
    )
    integration = await svix.integration.create(tenant.app_id, IntegrationIn(name="Others'"))
    async with gateway.http() as http:
        keys = f"/api/v1/auth/app/{tenant.app_id}/api-token"
        task = await http.post(
            f"/api/v1/app/{tenant.app_id}/dead-letter/discard", json={"reason": "as it is"}
        )
        event_type = {"name": "others.type", "description": "Of all apps"}
        await http.post("/api/v1/event-type", json=event_type)
        one = f"/api/v1/app/{tenant.app_id}/endpoint/{tenant.endpoint_id}"
        for part, body in ACCESS.items():
            assert (await http.put(f"{one}/{part}", json=body)).status_code == 204
        rules = (await http.get("/api/v1/alert-rule")).json()["data"]
        poller = await http.post(f"/api/v1/app/{tenant.app_id}/poller", json={})
        sink_id = poller.json()["id"]
        # It configures itself: else nobody could be seen to be kept from configuring it.
        own = await make_key(
            gateway.pool, tenant.environment_id, kind=KeyKind.AUTO_CONFIG,
            app_id=tenant.app_id, endpoint_id=tenant.endpoint_id,
        )  # fmt: skip
        assert own
        await http.post(f"/api/v1/auth/app/{tenant.app_id}/poller/{sink_id}/token/rotate", json={})
        return {
            "app_id": tenant.app_id,
            "endpoint_id": tenant.endpoint_id,
            "msg_id": message,
            "attempt_id": await tenant.tried(message, 500),
            "letter_id": letter,
            "group_id": str((await tenant.letter(letter))["group_id"]),
            "task_id": task.json()["id"],
            "integ_id": integration.id,
            "key_id": (await http.post(keys, json={"name": "Others' key"})).json()["id"],
            "rejected_id": await rows.rejected(tenant.link, tenant.environment_id),
            "rule_id": rules[0]["id"],
            "sink_id": sink_id,
            "consumer_id": "others-consumer",
            "event_type_name": "others.type",
            "env_id": tenant.environment_id,
        }


async def invalid_keys(gateway: Gateway, own: Tenant) -> dict[str, str | None]:
    """Give what is no key, or none any more."""
    pool, home = gateway.pool, own.environment_id
    ended = {"kind": KeyKind.PORTAL, "app_id": own.app_id}
    revoked = await make_key(pool, home, **ended)
    async with pool.acquire() as link:
        await link.execute("UPDATE api_key SET revoked_at = now() WHERE hint = $1", revoked[-4:])
    logged_out = token(own.environment_id, own.app_id)
    async with gateway.http(logged_out) as http:
        assert (await http.post("/api/v1/auth/logout")).status_code == 204
    forged = make_token(
        read_rules("HS256", OTHER_SECRET),
        environment_id=home, app_id=None, now=now(), lifetime=HOUR,
    )  # fmt: skip
    return {
        "none": None,
        "nonsense": "nonsense",
        "nobody's": mint(),
        "an expired portal's": await make_key(pool, home, **ended, expires_at=now() - HOUR),
        "an expired operator's": await make_key(pool, home, expires_at=now() - HOUR),
        "a revoked one": revoked,
        "a token that ended": token(home, age=3 * HOUR),
        "a token that was logged out": logged_out,
        "a token that somebody else signed": forged,
        "the secret of tokens": SECRET,
    }


def token(environment_id: str, app_id: str | None = None, *, age: timedelta = timedelta()) -> str:
    return make_token(
        RULES, environment_id=environment_id, app_id=app_id, now=now() - age, lifetime=HOUR
    )


async def holders(gateway: Gateway, own: Tenant, other: Tenant) -> tuple[Holder, ...]:
    """Make a key of every kind."""
    pool, home, away = gateway.pool, own.environment_id, await make_environment(gateway.pool)
    made = [
        Holder(name="the operator's", key=await make_key(pool, home), kind=KeyKind.OPERATOR),
        Holder(
            name="the installation's",
            key=await make_key(pool, home, scopes=(ALL_SCOPES,)),
            kind=KeyKind.OPERATOR,
            everywhere=True,
        ),
        Holder(
            name="a group admin's",
            key=await make_key(pool, home, kind=KeyKind.GROUP_ADMIN, scopes=(ALL_SCOPES,)),
            kind=KeyKind.GROUP_ADMIN,
            everywhere=True,
        ),
        Holder(
            name="another operator's",
            key=await make_key(pool, away),
            kind=KeyKind.OPERATOR,
            of="away",
        ),
        Holder(name="an operator's token", key=token(home), kind=KeyKind.OPERATOR),
        Holder(name="another's token", key=token(away), kind=KeyKind.OPERATOR, of="away"),
        Holder(name="an app's token", key=token(home, own.app_id), kind=KeyKind.PORTAL),
        Holder(
            name="another app's token",
            key=token(home, other.app_id),
            kind=KeyKind.PORTAL,
            of="other",
        ),
        Holder(
            name="a token of the app in another environment",
            key=token(away, own.app_id),
            kind=KeyKind.PORTAL,
            of="away",
        ),
    ]
    for kind in (
        KeyKind.APP,
        KeyKind.PORTAL,
        KeyKind.INTEGRATION,
        KeyKind.POLLER,
        KeyKind.AUTO_CONFIG,
    ):
        for of, tenant in (("own", own), ("other", other)):
            key = await make_key(pool, home, kind=kind, app_id=tenant.app_id)
            made.append(Holder(name=f"{of} {kind}'s", key=key, kind=kind, of=of))
    for capability in Capability:
        held = (Capability.VIEW_BASE, capability)
        key = await make_key(pool, home, kind=KeyKind.PORTAL, app_id=own.app_id, capabilities=held)
        made.append(
            Holder(
                name=f"a portal's with {capability}",
                key=key,
                kind=KeyKind.PORTAL,
                may={Capability.VIEW_BASE, *HELD[capability]},
            )
        )
    for of, tenant in (("own", own), ("other", other)):
        key = await make_key(
            pool, home, kind=KeyKind.APP, app_id=tenant.app_id, scopes=(Scope.MESSAGE_CREATE,)
        )
        made.append(
            Holder(name=f"{of} publisher's", key=key, kind=KeyKind.APP, of=of, publishes=True)
        )
    return tuple(made)


def is_admitted(operation: Operation, holder: Holder) -> bool:
    if holder.publishes:
        return operation.access is Access.PUBLISHER
    if holder.kind is KeyKind.GROUP_ADMIN:
        is_above = operation.path.startswith(OF_GROUP_ADMINS)
        return is_above or operation.access is Access.INSTALLATION
    if holder.kind not in TAKES[operation.access]:
        return False
    if operation.access in {Access.INSTALLATION, Access.OWNER}:
        return holder.everywhere
    return holder.may is None or operation.needed in holder.may


async def ask(
    ground: Ground, operation: Operation, places: Mapping[str, str], key: str | None
) -> Said:
    """Ask for an operation; a path's parameter that is not in `places` names nothing."""
    path = operation.path.format_map(defaultdict(lambda: NOWHERE, places))
    return await in_process.ask(ground.gateway.app, operation.method, path, key=key)


def refused(said: Said, status: int, code: str, holder: str) -> None:
    assert (said.status, said.json().get("code")) == (status, code), holder
    assert said.json().keys() == {"code", "detail"}, holder


def canaries(ground: Ground, holder: Holder) -> Iterator[str]:
    """Give texts that stand in what belongs to others, and nowhere else."""
    of_all = {"env_id", "rule_id", "rejected_id", "event_type_name"}
    hidden = set(ground.others_things) - (of_all if holder.of == "own" else {"env_id"})
    yield from (ground.others_things[name] for name in hidden)
    yield from (ground.other.other_id, "Others' ", "others-client")


async def standing(ground: Ground) -> list[Any]:
    """Give all that there is of the other app."""
    tables = ("endpoint", "endpoint_secret", "endpoint_certificate", "endpoint_oauth", "message",
              "delivery", "attempt", "dead_letter", "dead_letter_group", "task", "integration",
              "api_key", "poller", "poller_consumer", "endpoint_transformation")  # fmt: skip
    asked = " UNION ALL ".join(
        f"SELECT '{table}' AS whose, (to_jsonb(t) - 'last_used_at')::text AS what"
        f" FROM {table} AS t WHERE app_id = $1"
        for table in tables
    )
    app = "SELECT 'app', to_jsonb(a)::text FROM app AS a WHERE id = $1"
    return await ground.link.fetch(f"{asked} UNION ALL {app} ORDER BY 1, 2", ground.other.app_id)


@every_operation
async def test_nothing_is_done_for_whoever_shows_no_key_that_counts(
    ground: Ground, operation: Operation
) -> None:
    for name, key in ground.invalid.items():
        said = await ask(ground, operation, ground.others_things, key)

        refused(said, 401, "authentication_failed", name)


@every_operation
async def test_nothing_is_done_for_whoever_may_not(ground: Ground, operation: Operation) -> None:
    for holder in ground.holders:
        if not is_admitted(operation, holder):
            said = await ask(ground, operation, {"app_id": ground.own.app_id}, holder.key)

            refused(said, 403, "insufficient access", holder.name)


@every_operation
async def test_who_may_is_let_through(ground: Ground, operation: Operation) -> None:
    """With nothing there to be changed: where the path names no more than an app, there is none."""
    places = harmless(operation, ground)
    for holder in ground.holders:
        if is_admitted(operation, holder) and operation.access is not Access.PORTAL:
            said = await ask(ground, operation, places, holder.key)

            assert said.status < 500, holder.name
            assert said.status not in {401, 403}, (holder.name, said.body)


@every_operation
async def test_a_scope_lets_pass_what_it_is_for_and_nothing_else_does(
    ground: Ground, operation: Operation
) -> None:
    if operation.access in {Access.PORTAL, Access.INSTALLATION, Access.OWNER}:
        return  # which no key with such scopes may do
    fits, rest = operation.scopes, set(Scope) - set(operation.scopes)
    for kind, app_id in ((KeyKind.OPERATOR, None), (KeyKind.APP, ground.own.app_id)):
        if kind not in TAKES[operation.access] and operation.access is not Access.PUBLISHER:
            continue
        for scope in fits:
            key = await scoped(ground, kind, app_id, scope)
            said = await ask(ground, operation, harmless(operation, ground), key)

            assert said.status < 500, scope
            assert said.status not in {401, 403}, (scope, said.body)
        places = {"app_id": ground.own.app_id}
        said = await ask(ground, operation, places, await scoped(ground, kind, app_id, *rest))

        refused(said, 403, "insufficient access", kind)
        assert said.json()["detail"] == f"This key lacks the scope {fits[0]}."


def harmless(operation: Operation, ground: Ground) -> dict[str, str]:
    """Name the app, unless that alone is enough to change something."""
    is_whole = operation.access not in {Access.TENANT, Access.READER}
    return {} if is_whole else {"app_id": ground.own.app_id}


async def scoped(ground: Ground, kind: KeyKind, app_id: str | None, *scopes: str) -> str:
    home = ground.own.environment_id
    return await make_key(ground.gateway.pool, home, kind=kind, app_id=app_id, scopes=scopes)


@every_operation
async def test_an_app_is_not_there_for_whoever_is_not_of_it(
    ground: Ground, operation: Operation
) -> None:
    if "{app_id}" not in operation.path or operation.access is Access.INSTALLATION:
        return
    for ref in (ground.other.app_id, ground.other.uid):
        places = {**ground.others_things, "app_id": ref}
        for holder in ground.holders:
            if is_admitted(operation, holder) and is_stranger(holder):
                said = await ask(ground, operation, places, holder.key)

                # What makes an app where there is none reads the body first.
                assert said.status in {404, 422}, holder.name
                assert said.status == 404 or operation.access is Access.OPERATOR, holder.name


def is_stranger(holder: Holder) -> bool:
    """Tell whether the other app is out of a holder's reach."""
    if holder.kind in {KeyKind.OPERATOR, KeyKind.GROUP_ADMIN}:
        return holder.of == "away"
    return holder.of != "other"


@every_operation
async def test_what_is_anothers_is_neither_shown_nor_touched(
    ground: Ground, operation: Operation
) -> None:
    """By its id, under the caller's own app; or from another environment."""
    before = await standing(ground)
    for holder in ground.holders:
        if not is_stranger(holder) or operation.access is Access.PORTAL:  # which ends its own key
            continue
        places = dict(ground.others_things)
        if holder.of == "own":
            places["app_id"] = ground.own.app_id

        said = await ask(ground, operation, places, holder.key)

        assert said.status < 500, holder.name
        shown = [text for text in canaries(ground, holder) if text.encode() in said.body]
        assert not shown, (holder.name, said.body)
    assert await standing(ground) == before


async def test_the_other_app_is_there_all_the_same_for_its_operator(ground: Ground) -> None:
    """Else the walks above would say nothing."""
    operator = ground.holders[0]
    for operation in GUARDED:
        of_app = operation.access in {Access.TENANT, Access.READER, Access.SERVICE}
        if operation.method == "GET" and of_app:
            said = await ask(ground, operation, ground.others_things, operator.key)
            # A health has no history yet, and so on: what is named by an id is there.
            assert said.status == 200, named(operation)


async def test_a_portals_key_that_logs_out_counts_no_more(ground: Ground) -> None:
    logout = next(o for o in GUARDED if o.access is Access.PORTAL)
    key = await make_key(
        ground.gateway.pool,
        ground.own.environment_id,
        kind=KeyKind.PORTAL,
        app_id=ground.own.app_id,
        capabilities=(Capability.VIEW_BASE,),
    )
    assert (await ask(ground, logout, {}, key)).status == 204
    refused(await ask(ground, logout, {}, key), 401, "authentication_failed", "logged out")
