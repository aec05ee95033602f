"""What a dispatcher knows of apps and endpoints is never older than the last change it heard of."""

import asyncio
from datetime import timedelta

import pytest

from dispatcher import match
from schema import ids
from schema.endpoint import EndpointState, secret_context
from tests.directories import HearingDirectory
from tests.dispatching import VAULT, World, config, eventually, now
from tests.services import SHARDS

URL = "http://127.0.0.1:9/hook"


async def test_an_app_is_found_by_id_and_by_uid(world: World, directory: HearingDirectory) -> None:
    app_id = await world.app(uid="acme", rate=7)

    by_id = await directory.found(app_id)
    by_uid = await directory.found("acme")
    there = await directory.found("acme", world.environment_id)

    assert there == directory.tenant(app_id)
    assert by_id == by_uid == there
    assert by_id is not None
    assert (by_id.id, by_id.throttle_rate) == (app_id, 7)
    assert by_id.shard == ids.shard_of(app_id, SHARDS)


async def test_environments_see_nothing_of_each_other(
    world: World, directory: HearingDirectory
) -> None:
    other = ids.new_id(ids.ENVIRONMENT, now())
    await world.pool.execute(
        "INSERT INTO environment (id, name, created_at, updated_at) VALUES ($1, 'x', now(), now())",
        other,
    )
    here = await world.app(uid="acme")
    there = await World(pool=world.pool, environment_id=other).app(uid="acme")

    in_default, in_other = await directory.found("acme"), await directory.found("acme", other)

    assert in_default is not None
    assert in_other is not None
    assert (in_default.id, in_other.id) == (here, there)
    assert await directory.found(here, other) is None
    assert await directory.found(there, world.environment_id) is None
    assert await directory.found(there) == in_other, "an id says its environment itself"


async def test_what_does_not_exist_is_not_found_until_it_does(
    world: World, directory: HearingDirectory
) -> None:
    for name in ("nobody", ids.new_id(ids.APP, now()), "a b", "é\u2028", "x" * 300):
        assert await directory.found(name) is None
        assert await directory.found(name) is None

        await world.pool.execute(
            """INSERT INTO app (environment_id, id, uid, name, created_at, updated_at)
               VALUES ($1, $2, $3, 'a', now(), now())""",
            world.environment_id,
            name if ids.is_id(ids.APP, name) else ids.new_id(ids.APP, now()),
            name,
        )

        assert await directory.found(name) is not None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE app SET deleted_at = now()",
        "UPDATE environment SET deleted_at = now()",
        "DELETE FROM app",
    ],
)
async def test_what_was_deleted_is_not_found_any_more(
    world: World, directory: HearingDirectory, statement: str
) -> None:
    app_id = await world.app(uid="acme")
    assert await directory.found("acme") is not None

    await world.pool.execute(statement)

    assert await directory.found("acme") is None
    assert await directory.found(app_id) is None


async def test_every_change_of_an_endpoint_is_heard_of(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, URL)
    for change, attribute, value in (
        ("url = 'http://127.0.0.1:9/new'", "url_text", "http://127.0.0.1:9/new"),
        ("state = 'paused'", "state", EndpointState.PAUSED),
        ("throttle_rate = 3", "throttle_rate", 3),
        ("event_types = '{x}'", "event_types", frozenset({"x"})),
        ("channels = '{x}'", "channels", frozenset({"x"})),
        ("ordered = true", "ordered", True),
    ):
        before = await directory.found(app_id)
        await world.pool.execute(f"UPDATE endpoint SET {change}")
        after = await directory.found(app_id)

        assert before is not None
        assert after is not None
        assert getattr(before.targets[endpoint_id], attribute) != value
        assert getattr(after.targets[endpoint_id], attribute) == value


async def test_the_nearest_retry_policy_counts(world: World, directory: HearingDirectory) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, URL)

    waits = []
    for statement in (
        "SELECT 1",
        "UPDATE environment SET retry_policy = '[1]'",
        "UPDATE app SET retry_policy = '[2]'",
        'UPDATE endpoint SET retry_policy = \'{"base": 3, "attempts": 2}\'',
    ):
        await world.pool.execute(statement)
        tenant = await directory.found(app_id)
        assert tenant is not None
        waits.append(tenant.targets[endpoint_id].retry_policy.waits_s)

    assert waits == [config().retry_policy.waits_s, (1.0,), (2.0,), (3.0,)]


async def policy_of_type(world: World, environment_id: str, name: str, policy: str | None) -> None:
    await world.pool.execute(
        """INSERT INTO event_type (environment_id, name, retry_policy, created_at, updated_at)
           VALUES ($1, $2, ($3::text)::jsonb, now(), now())
           ON CONFLICT (environment_id, name) DO UPDATE SET retry_policy = excluded.retry_policy""",
        environment_id,
        name,
        policy,
    )


async def test_the_policy_of_an_event_type_stands_between_the_endpoints_and_the_apps(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    plain, own = [await world.endpoint(app_id, URL, policy=policy) for policy in (None, [9])]
    await world.pool.execute("UPDATE app SET retry_policy = '[2]'")
    await policy_of_type(world, world.environment_id, "a.b", "[5]")
    await policy_of_type(world, world.environment_id, "nonsense", '"often"')

    tenant = await directory.found(app_id)

    assert tenant is not None
    names = ("a.b", "nonsense", "other")
    waits = {i: [t.policy(n).waits_s for n in names] for i, t in tenant.targets.items()}
    assert waits == {plain: [(5.0,), (2.0,), (2.0,)], own: [(9.0,)] * 3}


async def test_a_policy_of_an_event_type_counts_in_its_environment_alone_and_not_for_operators(
    world: World, directory: HearingDirectory
) -> None:
    app_id, operational = await world.app(), await world.app()
    endpoints = [await world.endpoint(app, URL) for app in (app_id, operational)]
    await world.pool.execute("UPDATE app SET kind = 'operational' WHERE id = $1", operational)
    other = ids.new_id(ids.ENVIRONMENT, now())
    await world.pool.execute(
        "INSERT INTO environment (id, name, created_at, updated_at) VALUES ($1, 'x', now(), now())",
        other,
    )
    await policy_of_type(world, other, "a.b", "[5]")
    await policy_of_type(world, world.environment_id, "told", "[5]")

    tenants = [await directory.found(app) for app in (app_id, operational)]

    waits = [
        tenant.targets[endpoint].policy(name).waits_s
        for tenant, endpoint, name in zip(tenants, endpoints, ("a.b", "told"), strict=True)
        if tenant is not None
    ]
    assert waits == [config().retry_policy.waits_s] * 2


async def test_a_change_to_the_policy_of_an_event_type_reaches_what_is_in_memory(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, URL)
    tenant = await directory.found(app_id)
    assert tenant is not None
    target = tenant.targets[endpoint_id]
    keeping = asyncio.create_task(directory.keep_policies())
    try:
        for policy, waits_s in (
            ("[5]", (5.0,)),
            ("[6]", (6.0,)),
            (None, target.retry_policy.waits_s),
        ):
            await policy_of_type(world, world.environment_id, "a.b", policy)
            await eventually(lambda waits_s=waits_s: target.policy("a.b").waits_s == waits_s)  # type: ignore[misc]
        await world.pool.execute("ALTER TABLE event_type DISABLE TRIGGER event_type_changed")
        await policy_of_type(world, world.environment_id, "a.b", "[7]")
        directory.forget_all()  # as when notifications may have been missed
        await eventually(lambda: target.policy("a.b").waits_s == (7.0,))
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])


async def test_a_stored_policy_that_is_nonsense_harms_nobody_else(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, URL)
    await world.pool.execute("UPDATE endpoint SET retry_policy = '\"often\"'")

    tenant = await directory.found(app_id)

    assert tenant is not None
    assert tenant.targets[endpoint_id].retry_policy == config().retry_policy


async def test_an_endpoint_that_cannot_be_sent_to_is_known_with_the_fault_and_still_matches(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    for statement in (
        "UPDATE endpoint SET url = 'http://169.254.169.254/' WHERE id = $1",
        "UPDATE endpoint SET url = 'gopher://x/' WHERE id = $1",
        "UPDATE endpoint SET headers = 'nonsense' WHERE id = $1",
        "UPDATE endpoint_secret SET sealed = 'nonsense' WHERE endpoint_id = $1",
        "DELETE FROM endpoint_secret WHERE endpoint_id = $1",
    ):
        endpoint_id = await world.endpoint(app_id, URL)
        await world.pool.execute(statement, endpoint_id)
        tenant = await directory.found(app_id)

        assert tenant is not None
        assert tenant.targets[endpoint_id].fault
        assert tenant.targets[endpoint_id].matches("a.b", None)


async def test_every_live_secret_signs_the_current_one_first(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, URL)
    soon = now() + timedelta(minutes=5)
    await world.pool.execute("UPDATE endpoint_secret SET expires_at = $1", soon)
    await world.pool.execute(
        """INSERT INTO endpoint_secret
           SELECT app_id, endpoint_id, 'sec_new', kind, $1, now(), NULL FROM endpoint_secret""",
        VAULT.seal(b"whsec_" + b"A" * 32, context=secret_context(app_id, endpoint_id)),
    )

    tenant = await directory.found(app_id)

    assert tenant is not None
    target = tenant.targets[endpoint_id]
    assert target.signer is not None
    assert len(target.signer.sign("msg_1", 1, b"").split(" ")) == 2
    assert target.stale_at == soon
    assert directory.expired(soon - timedelta(seconds=1)) == []
    assert directory.expired(soon) == [app_id]


async def test_an_app_that_changes_while_it_is_read_is_given_but_not_kept(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    link = await world.pool.acquire()
    try:
        async with link.transaction():
            await link.execute("LOCK TABLE endpoint IN ACCESS EXCLUSIVE MODE")
            reading = asyncio.create_task(directory.load([app_id], now()))
            await eventually(lambda: bool(directory._watches))
            directory.changed("app", app_id)
    finally:
        await world.pool.release(link)

    assert list(await reading) == [app_id]
    assert directory.tenant(app_id) is None


async def test_reading_ends_however_much_changes(world: World, directory: HearingDirectory) -> None:
    """Somebody makes endpoints all the time; others' events must not wait for the end of it."""
    app_id, busy = await world.app(uid="acme"), await world.app()
    going = True

    async def meddle() -> None:
        while going:
            directory.changed("endpoint", busy)
            await asyncio.sleep(0)

    meddling = asyncio.create_task(meddle())
    async with asyncio.timeout(5):
        tenants = await directory.find({(None, "acme"), (None, busy)}, now())
    going = False
    await meddling

    assert {tenant.id for tenant in tenants.values()} == {app_id, busy}


async def test_more_apps_than_fit_into_memory_are_all_found(
    world: World, directory: HearingDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match, "MAX_APPS", 3)
    monkeypatch.setattr(match, "APPS_PER_READ", 2)
    apps = [await world.app(uid=f"uid-{n}") for n in range(10)]
    await directory.find({(None, app_id) for app_id in apps[:3]}, now())

    tenants = await directory.find({(None, f"uid-{n}") for n in range(10)}, now())
    again = await directory.find({(None, app_id) for app_id in apps}, now())

    assert sorted(tenant.id for tenant in tenants.values()) == sorted(apps)
    assert sorted(tenant.id for tenant in again.values()) == sorted(apps)
    assert len(directory._tenants) == 3


async def test_a_uid_that_went_to_another_app_is_found_there(
    world: World, directory: HearingDirectory
) -> None:
    old, new = await world.app(uid="acme"), await world.app()
    first = await directory.found("acme")
    async with world.pool.acquire() as link, link.transaction():
        await link.execute("UPDATE app SET uid = NULL WHERE id = $1", old)
        await link.execute("UPDATE app SET uid = 'acme' WHERE id = $1", new)

    second = await directory.found("acme")

    assert first is not None
    assert second is not None
    assert (first.id, second.id) == (old, new)
