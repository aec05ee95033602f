"""What a dispatcher makes of how endpoints are reached, out of their rows; and when anew."""

from dataclasses import replace

import pytest

from dispatcher.match import Target
from schema.certificate import CONTEXT, CertificateKind, EndpointCertificate
from schema.endpoint import secret_context
from schema.store import endpoint_certificate
from tests.authorization import set_oauth
from tests.certificates import DAY, authority_pem, issue
from tests.directories import HearingDirectory
from tests.dispatching import VAULT, World, now
from tests.receiver import make_authority

URL = "https://127.0.0.1:9443/hook"
CA, CLIENT = authority_pem(make_authority()), issue(None).identity
KINDS = CertificateKind


async def target(directory: HearingDirectory, app_id: str) -> Target:
    found = await directory.found(app_id)
    assert found is not None
    [made] = found.targets.values()
    return made


async def set_certificate(
    world: World, app_id: str, endpoint_id: str, kind: KINDS, content: bytes
) -> None:
    certificate = EndpointCertificate(
        kind=kind, content=content, subject="", ends_at=now() + DAY, updated_at=now()
    )
    async with world.pool.acquire() as link:
        await endpoint_certificate.put(link, app_id, endpoint_id, certificate)


def sealed(app_id: str, endpoint_id: str) -> bytes:
    return VAULT.seal(CLIENT.encode(), context=secret_context(app_id, endpoint_id, CONTEXT))


async def test_every_change_of_how_an_endpoint_is_reached_is_heard_of(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    endpoint_id = await world.endpoint(app_id, URL)
    place = (app_id, endpoint_id)
    ways = [(await target(directory, app_id)).way]

    await set_certificate(world, *place, KINDS.AUTHORITIES, CA.encode())
    ways.append((await target(directory, app_id)).way)
    await set_certificate(world, *place, KINDS.IDENTITY, sealed(*place))
    reached = await target(directory, app_id)
    ways.append(reached.way)
    for _ in range(2):
        await set_oauth(world.pool, *place, "https://127.0.0.1:9443/token")
        ways.append((await target(directory, app_id)).way)

    assert len(set(ways)) == len(ways)
    assert reached.tls is not None
    assert (reached.tls.authorities, reached.tls.identity) == (CA, CLIENT.encode())
    async with world.pool.acquire() as link:
        for kind in KINDS:
            await endpoint_certificate.delete(link, *place, kind)
        await link.execute("DELETE FROM endpoint_oauth")
    assert (await target(directory, app_id)).way == ways[0]


async def test_the_same_server_is_verified_alike_when_it_is_asked_for_tokens(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    place = (app_id, await world.endpoint(app_id, URL))
    await set_certificate(world, *place, KINDS.AUTHORITIES, CA.encode())
    used = []
    for url in ("https://127.0.0.1:9443/token", "https://127.0.0.1:9444/token"):
        await set_oauth(world.pool, *place, url)
        made = await target(directory, app_id)
        assert made.oauth is not None
        used.append((made.oauth.tls, made.tls))

    assert used[0][0] == used[0][1] is not None
    assert used[1][0] is None


async def test_a_token_url_that_is_not_allowed_any_more_is_a_fault_of_the_tokens_alone(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    place = (app_id, await world.endpoint(app_id, URL))
    await set_oauth(world.pool, *place, "https://10.0.0.1/token")

    made = await target(directory, app_id)

    assert made.fault == ""
    assert made.oauth is not None
    assert (made.oauth.url, made.oauth.fault) == (None, "the token URL: Address not allowed.")


@pytest.mark.parametrize("table", ["endpoint_certificate", "endpoint_oauth"])
async def test_what_was_sealed_for_another_endpoint_is_a_fault_and_never_used(
    world: World, directory: HearingDirectory, table: str
) -> None:
    app_id = await world.app()
    place = (app_id, await world.endpoint(app_id, URL))
    other_id = await world.app()
    other = (other_id, await world.endpoint(other_id, URL))
    await set_certificate(world, *other, KINDS.IDENTITY, sealed(*other))
    await set_oauth(world.pool, *other, "https://127.0.0.1:9443/token")

    await world.pool.execute(f"UPDATE {table} SET app_id = $1, endpoint_id = $2", *place)

    made = await target(directory, app_id)
    assert "does not open" in made.fault
    assert made.tls is None
    assert made.oauth is None


async def test_a_target_that_differs_in_no_way_is_reached_as_before(
    world: World, directory: HearingDirectory
) -> None:
    app_id = await world.app()
    await world.endpoint(app_id, URL)
    made = await target(directory, app_id)

    assert replace(made, throttle_rate=7).way == made.way
