"""Every delivery verifies with the reference libraries, during a rotation under both secrets."""

import time

from svix.api import EndpointSecretRotateIn

from tests.acceptance.world import World, verifies

OURS = ("webhook-id", "webhook-timestamp", "webhook-signature")
SVIX = ("svix-id", "svix-timestamp", "svix-signature")
GIVEN = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PAYLOAD = {"name": "Åsa", "amount": 1.5}


async def test_a_delivery_verifies_under_a_secret_that_was_given(world: World) -> None:
    app = await world.app()
    await world.endpoint(app, "/signed", secret=GIVEN)

    message = await world.publish(app, PAYLOAD)

    [came] = await world.receiver.wait_for(1)
    assert verifies(came, GIVEN)
    assert came.header("webhook-id") == message.id
    assert abs(time.time() - int(came.header("webhook-timestamp") or 0)) < 5
    assert [came.header(name) for name in SVIX] == [None, None, None]


async def test_a_delivery_verifies_under_a_secret_that_was_generated(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/signed")
    secret = (await world.svix.endpoint.get_secret(app.id, endpoint.id)).key

    await world.publish(app, PAYLOAD)

    [came] = await world.receiver.wait_for(1)
    assert secret.startswith("whsec_")
    assert verifies(came, secret)
    assert not verifies(came, GIVEN)


async def test_both_secrets_verify_during_a_rotation(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/signed", secret=GIVEN)

    await world.svix.endpoint.rotate_secret(app.id, endpoint.id, EndpointSecretRotateIn())
    await world.publish(app, PAYLOAD, gate=1)

    [came] = await world.receiver.wait_for(1)
    secret = (await world.svix.endpoint.get_secret(app.id, endpoint.id)).key
    assert secret != GIVEN
    assert verifies(came, secret)
    assert verifies(came, GIVEN)


async def test_an_old_secret_signs_no_more_when_its_grace_has_passed(world: World) -> None:
    app = await world.app()
    endpoint = await world.endpoint(app, "/signed", secret=GIVEN)
    await world.publish(app, PAYLOAD)
    await world.receiver.wait_for(1)
    rotation = EndpointSecretRotateIn(grace_period_seconds=0)

    await world.svix.endpoint.rotate_secret(app.id, endpoint.id, rotation)
    await world.publish(app, PAYLOAD, gate=1)

    before, after = await world.receiver.wait_for(2)
    secret = (await world.svix.endpoint.get_secret(app.id, endpoint.id)).key
    assert (verifies(before, GIVEN), verifies(before, secret)) == (True, False)
    assert (verifies(after, GIVEN), verifies(after, secret)) == (False, True)


async def test_with_the_setting_on_the_names_of_svix_are_sent_as_well(
    breakable_world: World,
) -> None:
    world = breakable_world
    app = await world.app()
    await world.endpoint(app, "/signed", secret=GIVEN)

    await world.publish(app, PAYLOAD)

    [came] = await world.receiver.wait_for(1)
    assert verifies(came, GIVEN)
    assert [came.header(name) for name in SVIX] == [came.header(name) for name in OURS]


async def test_headers_of_an_endpoint_are_sent(world: World) -> None:
    app = await world.app()
    await world.endpoint(app, "/headed", headers={"X-Tenant": "acme", "Authorization": "Bearer x"})

    await world.publish(app, PAYLOAD)

    [came] = await world.receiver.wait_for(1)
    assert came.header("x-tenant") == "acme"
    assert came.header("authorization") == "Bearer x"
