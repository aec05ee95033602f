"""Apps are told of their endpoints by mail: once, in few mails, whatever the mail server does."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from nats.aio.client import Client
from prometheus_client import CollectorRegistry

from dispatcher import alert_mail
from dispatcher.alert_mail import CLAIM_S, AlertMail
from dispatcher.mail import Mailer, MailServer, Result, read_server
from dispatcher.metrics import Metrics
from schema.delivery import Outcome, State
from schema.mail import GATHER_S
from schema.operational import Kind
from schema.store import alert_mail as store
from schema.store.link import Pool
from tests import mail_server, settling
from tests.dispatching import (
    World,
    config,
    dispatching,
    elsewhere,
    eventually,
    new_world,
    now,
    parts,
    publish,
)
from tests.mail_server import DROP, HANG
from tests.receiver import Receiver, answer, make_authority
from tests.services import Services

HOOK = "https://hooks.example.com/in?token=s3cret"
FROM = "hooks@acme.example.com"
TO = "ops@customer.example.com"
PAUSE_S = 3_600.0
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GATHERED = timedelta(seconds=GATHER_S + 1)


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    made = await settling.owned_world(pool)
    await wanting(made)
    return made


@pytest_asyncio.fixture
async def server() -> AsyncIterator[mail_server.MailServer]:
    async with mail_server.MailServer() as running:
        yield running


def address(server: mail_server.MailServer, scheme: str = "smtp", *, at: str = "") -> MailServer:
    return read_server(f"{scheme}://{at}127.0.0.1:{server.port}", sender=FROM)


class Mailing:
    """What mails, with a clock that can be put on."""

    def __init__(
        self, pool: Pool, bus: Client, server: mail_server.MailServer, *, timeout_s: float = 10.0
    ) -> None:
        self.later = timedelta()
        self.metrics = Metrics(CollectorRegistry())
        given = parts(
            pool,
            bus,
            config(mail_pause_s=PAUSE_S),
            clock=lambda: now() + self.later,
            dice=lambda: 0.0,
            metrics=self.metrics,
        )
        mailer = Mailer(
            address(server), tls=ssl.create_default_context(), timeout_s=timeout_s, whole_s=20.0
        )
        self.mailing = AlertMail(given, mailer, sender=FROM)

    async def once(self, later: timedelta | None = None) -> None:
        self.later = self.later if later is None else later
        await self.mailing.once()

    def counted(self, result: str) -> float:
        return float(self.metrics.mails.labels(result)._value.get())


@pytest_asyncio.fixture
async def mailing(pool: Pool, bus: Client, server: mail_server.MailServer) -> Mailing:
    return Mailing(pool, bus, server)


async def wanting(world: World, **settings: Any) -> None:
    """Have the apps of an environment told by mail."""
    await world.pool.execute(
        "UPDATE environment SET settings = $2 WHERE id = $1",
        world.environment_id,
        {"enableApplicationAlerts": True, **settings},
    )


async def app_with(world: World, email: str | None = TO) -> tuple[str, str]:
    """Make an app with an address, and an endpoint."""
    app_id = await world.app(uid=None)
    async with world.pool.acquire() as link:
        await store.set_email(link, app_id, email, now())
    return app_id, await world.endpoint(app_id, HOOK)


async def given_up(
    world: World, place: tuple[str, str], number: int = 1, *, mails: bool = True
) -> None:
    """Settle messages that are given up."""
    batch = [
        settling.settlement(*place, message_id, State.DEAD)
        for message_id in await world.owe(*place, number)
    ]
    await settling.settle(world.pool, *batch, mail_pause_s=PAUSE_S if mails else None)


async def disabled(world: World, place: tuple[str, str]) -> None:
    """Settle a message whose receiver wants no more."""
    (message_id,) = await world.owe(*place)
    gone = settling.settlement(*place, message_id, State.DEAD, disable="gone")
    gone = settling.with_outcome(gone, Outcome(status=410, duration_ms=7))
    await settling.settle(world.pool, gone, mail_pause_s=PAUSE_S)


async def waiting(pool: Pool) -> list[tuple[str, str, int]]:
    rows = await pool.fetch(
        "SELECT endpoint_id, kind, pending FROM alert_mail WHERE due_at IS NOT NULL ORDER BY kind"
    )
    return [(row["endpoint_id"], row["kind"], row["pending"]) for row in rows]


# What is to be told.


async def test_messages_that_are_given_up_are_gathered_in_a_row_of_their_endpoint(
    world: World, pool: Pool
) -> None:
    place = await app_with(world)

    await given_up(world, place, 3)
    await given_up(world, place, 2)

    assert await waiting(pool) == [(place[1], Kind.ATTEMPT_EXHAUSTED, 5)]


async def test_an_endpoint_that_is_disabled_by_itself_is_to_be_told(
    world: World, pool: Pool
) -> None:
    place = await app_with(world)

    await disabled(world, place)

    assert await waiting(pool) == [
        (place[1], Kind.ENDPOINT_DISABLED, 1),
        (place[1], Kind.ATTEMPT_EXHAUSTED, 1),
    ]


@pytest.mark.parametrize(
    ("settings", "kinds"),
    [
        ({"enableApplicationAlerts": False}, set()),
        ({"enableApplicationAlerts": "yes"}, set()),
        ({"applicationAlertEvents": []}, {Kind.ENDPOINT_DISABLED, Kind.ATTEMPT_EXHAUSTED}),
        ({"applicationAlertEvents": ["endpoint.disabled"]}, {Kind.ENDPOINT_DISABLED}),
        ({"applicationAlertEvents": ["stream.sink.disabled"]}, set()),
        ({"applicationAlertEvents": 7}, set()),
    ],
)
async def test_an_environment_says_of_what_its_apps_are_told(
    world: World, pool: Pool, settings: dict[str, Any], kinds: set[str]
) -> None:
    await wanting(world, **settings)
    place = await app_with(world)

    await disabled(world, place)

    assert {kind for _, kind, _ in await waiting(pool)} == kinds


async def test_nothing_is_written_for_whom_nobody_can_tell(world: World, pool: Pool) -> None:
    other = await elsewhere(world)
    await given_up(world, await app_with(world), mails=False)
    await given_up(world, await app_with(world, None))
    await given_up(other, await app_with(other))

    assert await waiting(pool) == []


async def test_an_address_may_stand_in_the_metadata_as_svix_has_it(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing
) -> None:
    place = await app_with(world, None)
    await pool.execute(
        "UPDATE app SET metadata = $2 WHERE id = $1", place[0], {"svix.email": "m@example.com"}
    )
    await given_up(world, place)

    await mailing.once(GATHERED)

    assert [mail.recipients for mail in server.mails] == [["m@example.com"]]


# What is sent.


async def test_a_mail_says_what_happened_to_everybody_who_is_to_know(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing
) -> None:
    await wanting(
        world, displayName="Acme", applicationAlertsDashboardUrl="https://app.example.com"
    )
    place = await app_with(world, "a@example.com, b@example.com")
    await given_up(world, place, 3)

    await mailing.once(timedelta(seconds=GATHER_S / 2))  # too soon
    assert server.mails == []
    await mailing.once(GATHERED)
    await mailing.once(GATHERED + 2 * HOUR)

    (mail,) = server.mails
    assert (mail.sender, mail.recipients) == (FROM, ["a@example.com", "b@example.com"])
    headers = mail.message
    assert (headers["From"], headers["To"]) == (FROM, "a@example.com, b@example.com")
    assert headers["Subject"] == "[Acme] 3 messages not delivered to hooks.example.com"
    assert headers["Auto-Submitted"] == "auto-generated"
    assert headers["Message-ID"].endswith("@acme.example.com>")
    for kind in ("plain", "html"):
        assert "https://hooks.example.com/in" in mail.text(kind)
        assert "HTTP 500" in mail.text(kind)
        assert f"svix_app_id={place[0]}" in mail.text(kind)
        assert "s3cret" not in mail.text(kind)
    assert await waiting(pool) == []
    assert mailing.counted("sent") == 1


async def test_what_comes_within_the_hour_is_told_after_it_in_one_mail(
    world: World, server: mail_server.MailServer, mailing: Mailing
) -> None:
    place = await app_with(world)
    await given_up(world, place)
    await mailing.once(GATHERED)

    await given_up(world, place, 4)
    await given_up(world, place, 3)
    await mailing.once(HOUR)
    assert len(server.mails) == 1
    await mailing.once(HOUR + 2 * GATHERED)

    assert len(server.mails) == 2
    assert "7 messages were given up since" in server.mails[1].text()
    assert server.mails[0].message["Message-ID"] != server.mails[1].message["Message-ID"]


async def test_what_comes_while_a_mail_is_on_its_way_is_not_lost(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing
) -> None:
    place = await app_with(world)
    await given_up(world, place)
    async with pool.acquire() as link:
        at = now() + GATHERED
        (due,) = await store.claim(link, "c", now=at, until=at + HOUR, most=9)
        await given_up(world, place, 2)
        await store.told(link, [due], at, pause_s=PAUSE_S)

    assert await waiting(pool) == [(place[1], Kind.ATTEMPT_EXHAUSTED, 2)]
    await mailing.once(2 * HOUR)
    assert "2 messages were given up" in server.mails[0].text()


async def test_endpoints_of_an_app_share_a_mail_and_apps_do_not(
    world: World, server: mail_server.MailServer, mailing: Mailing
) -> None:
    one = await app_with(world)
    await given_up(world, one)
    await given_up(world, (one[0], await world.endpoint(one[0], "https://second.example.com/")))
    await given_up(world, await app_with(world, "other@example.com"))

    await mailing.once(GATHERED)

    by_recipient = {mail.recipients[0]: mail.text() for mail in server.mails}
    assert by_recipient.keys() == {TO, "other@example.com"}
    assert len(server.mails) == 2
    assert "second.example.com" in by_recipient[TO]
    assert "second.example.com" not in by_recipient["other@example.com"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE environment SET settings = '{}'",
        "UPDATE environment SET deleted_at = now()",
        "UPDATE app SET deleted_at = now()",
        "UPDATE endpoint SET deleted_at = now()",
        "DELETE FROM alert_email",
        "UPDATE alert_email SET email = 'nonsense'",
    ],
)
async def test_nobody_is_told_who_is_not_to_be_told_any_more(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing, change: str
) -> None:
    await given_up(world, await app_with(world))
    await pool.execute(change)

    await mailing.once(GATHERED)

    assert server.mails == []
    assert await waiting(pool) == []


async def test_what_is_gathered_of_an_endpoint_goes_along_with_what_is_due_of_it(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing
) -> None:
    place = await app_with(world)
    await given_up(world, place, 2)
    await given_up(world, (place[0], await world.endpoint(place[0], HOOK)))
    await disabled(world, place)

    await mailing.once(timedelta(seconds=1))

    (mail,) = server.mails
    assert "was disabled" in mail.text()
    assert "3 messages were given up" in mail.text()
    assert len(await waiting(pool)) == 1


# What the server does.


@pytest.mark.parametrize("verb", ["MAIL", "RCPT", "DATA", "BODY"])
@pytest.mark.parametrize("how", [HANG, DROP, "451 come back later"])
async def test_what_the_server_does_not_take_is_sent_when_it_does(
    world: World, bus: Client, server: mail_server.MailServer, verb: str, how: str
) -> None:
    pool = world.pool
    mailing = Mailing(pool, bus, server, timeout_s=0.5)
    server.script(verb, how, mail_server.USUAL[verb])
    await given_up(world, await app_with(world))

    async with asyncio.timeout(5):
        await mailing.once(GATHERED)
        await mailing.once(GATHERED)  # too soon

    assert server.mails == []
    assert (mailing.counted("delayed"), len(await waiting(pool))) == (1, 1)
    await mailing.once(GATHERED + timedelta(seconds=61))
    assert [mail.recipients for mail in server.mails] == [[TO]]
    assert await waiting(pool) == []


async def test_a_mail_that_may_have_arrived_is_sent_again_under_the_same_id(
    world: World, server: mail_server.MailServer, mailing: Mailing
) -> None:
    server.script("BODY", DROP, "250 taken")
    await given_up(world, await app_with(world))

    await mailing.once(GATHERED)
    await mailing.once(GATHERED + timedelta(minutes=2))

    first, second = (mail.message["Message-ID"] for mail in server.seen)
    assert first == second


@pytest.mark.parametrize("verb", ["RCPT", "BODY"])
async def test_what_would_be_refused_again_is_counted_and_not_sent_again(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing, verb: str
) -> None:
    server.script(verb, "550 no such user")
    await given_up(world, await app_with(world))

    await mailing.once(GATHERED)

    assert mailing.counted("refused") == 1
    assert await waiting(pool) == []


async def test_who_is_taken_gets_the_mail_where_another_is_refused(
    world: World, server: mail_server.MailServer, mailing: Mailing
) -> None:
    server.script("RCPT", "550 no such user", "250 well")
    await given_up(world, await app_with(world, "gone@example.com, here@example.com"))

    await mailing.once(GATHERED)

    assert [mail.recipients for mail in server.mails] == [["here@example.com"]]
    assert mailing.counted("sent") == 1


async def test_while_the_server_is_away_it_is_asked_once_and_everybody_waits(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing
) -> None:
    server.script("MAIL", DROP, "250 well")
    for _ in range(3):
        await given_up(world, await app_with(world))

    await mailing.once(GATHERED)

    assert server.connections == 1
    assert len(await waiting(pool)) == 3
    await mailing.once(GATHERED + timedelta(minutes=2))
    assert len(server.mails) == 3


async def test_a_mail_is_given_up_after_a_day_and_counted(
    world: World, pool: Pool, server: mail_server.MailServer, mailing: Mailing
) -> None:
    server.script("MAIL", DROP)
    await given_up(world, await app_with(world))
    await mailing.once(GATHERED)

    await mailing.once(DAY)
    assert len(await waiting(pool)) == 1
    await mailing.once(DAY + 3 * HOUR)

    assert await waiting(pool) == []
    assert mailing.counted("given_up") == 1


async def test_two_dispatchers_send_no_mail_twice_and_the_second_takes_over_from_one_that_died(
    world: World, pool: Pool, bus: Client, server: mail_server.MailServer, mailing: Mailing
) -> None:
    server.script("MAIL", HANG, "250 well")
    await given_up(world, await app_with(world))
    second = Mailing(pool, bus, server)

    async with asyncio.TaskGroup() as group:
        first = group.create_task(mailing.once(GATHERED))
        await server.wait_for("MAIL")
        await second.once(GATHERED)
        assert server.connections == 1
        first.cancel()
    await second.once(GATHERED + timedelta(seconds=CLAIM_S + 1))

    assert len(server.mails) == 1


async def test_rows_that_have_nothing_to_tell_are_dropped_after_a_while(
    world: World, pool: Pool, mailing: Mailing
) -> None:
    await given_up(world, await app_with(world))
    await mailing.once(GATHERED)
    assert await pool.fetchval("SELECT count(*) FROM alert_mail") == 1

    await mailing.once(8 * DAY)

    assert await pool.fetchval("SELECT count(*) FROM alert_mail") == 0


# By TLS, and with a password.


def mailer(made: MailServer, tls: ssl.SSLContext) -> Mailer:
    return Mailer(made, tls=tls, timeout_s=2.0, whole_s=5.0)


def a_mail() -> Any:
    message = alert_mail.EmailMessage()
    message["To"] = TO
    message.set_content("hello")
    return message


@pytest.mark.parametrize("scheme", ["smtps", "starttls", "smtp"])
async def test_a_password_goes_over_tls_wherever_the_server_speaks_it(scheme: str) -> None:
    authority = make_authority()
    context = authority.server_context()
    here = {"tls" if scheme == "smtps" else "start_tls": context}
    async with mail_server.MailServer(**here) as server:
        made = address(server, scheme, at="us%40er:pa55@")

        sent = await mailer(made, authority.client_context()).send(a_mail())

    assert sent.result is Result.SENT
    assert (server.logins, server.protected) == ([("us@er", "pa55")], [True])


@pytest.mark.parametrize("scheme", ["smtps", "starttls", "smtp"])
async def test_a_server_that_cannot_prove_who_it_is_gets_neither_password_nor_mail(
    scheme: str,
) -> None:
    context = make_authority().server_context()
    here = {"tls" if scheme == "smtps" else "start_tls": context}
    async with mail_server.MailServer(**here) as server:
        made = address(server, scheme, at="user:pa55@")

        sent = await mailer(made, make_authority().client_context()).send(a_mail())

    assert sent.result is Result.DELAYED
    assert (server.logins, server.mails) == ([], [])


async def test_a_password_is_not_sent_in_the_clear_but_to_this_machine() -> None:
    context = ssl.create_default_context()
    async with mail_server.MailServer() as server:
        here = await mailer(address(server, at="user:pa55@"), context).send(a_mail())
        there = read_server(f"smtp://user:pa55@127.1:{server.port}", sender=FROM)
        refused = await mailer(there, context).send(a_mail())
        must = read_server(f"starttls://user:pa55@127.0.0.1:{server.port}", sender=FROM)
        unable = await mailer(must, context).send(a_mail())

    assert here.result is Result.SENT
    assert (refused.result, unable.result) == (Result.DELAYED, Result.DELAYED)
    assert "a password is not sent without" in refused.why
    assert server.logins == [("user", "pa55")]


async def test_a_wrong_password_delays_mails_and_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with mail_server.MailServer() as server:
        made = address(server, at="user:wrong@")
        sent = await mailer(made, ssl.create_default_context()).send(a_mail())

    assert sent.result is Result.DELAYED
    assert "wrong" not in f"{sent} {made!r} {caplog.text}"


async def test_all_steps_together_have_a_limit_and_what_it_cuts_off_is_delayed() -> None:
    async with mail_server.MailServer() as server:
        server.script("RCPT", HANG)
        patient = Mailer(
            address(server), tls=ssl.create_default_context(), timeout_s=30.0, whole_s=0.2
        )
        async with asyncio.timeout(5):
            sent = await patient.send(a_mail())

    assert sent.result is Result.DELAYED


async def test_a_name_that_cannot_be_one_delays_mails() -> None:
    made = read_server(f"smtp://{'x' * 70}.example.com", sender=FROM)

    sent = await mailer(made, ssl.create_default_context()).send(a_mail())

    assert sent.result is Result.DELAYED


async def test_a_server_that_is_not_there_delays_mails() -> None:
    async with mail_server.MailServer() as server:
        made = address(server)

    sent = await mailer(made, ssl.create_default_context()).send(a_mail())

    assert sent.result is Result.DELAYED


@pytest.mark.parametrize(
    "url",
    ["", "smtp://", "http://mail.example.com", "smtp://mail.example.com/path", "mail.example.com",
     "smtp://mail.example.com:x", "smtp://mail.example.com:99999", "smtp://a.b?c=d"],
)  # fmt: skip
def test_what_is_no_address_of_a_mail_server_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="smtp://"):
        read_server(url)


@pytest.mark.parametrize(("scheme", "port"), [("smtp", 25), ("starttls", 587), ("smtps", 465)])
def test_a_mail_servers_port_follows_from_how_it_is_spoken_to(scheme: str, port: int) -> None:
    assert read_server(f"{scheme}://mail.example.com").port == port


# All together.


@pytest.mark.usefixtures("stream")
async def test_a_dispatcher_mails_an_app_whose_receiver_wants_no_more(
    pool: Pool,
    bus: Client,
    services: Services,
    server: mail_server.MailServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(alert_mail, "EVERY_S", 0.05)
    world = await new_world(pool)
    await wanting(world)
    app_id, _ = await app_with(world)

    async with Receiver() as receiver:
        receiver.script("/", answer(410))
        await pool.execute("UPDATE endpoint SET url = $1", receiver.url("/hook"))
        async with dispatching(pool, services.nats_url, mail=address(server)):
            await publish(bus, app_id)
            await eventually(lambda: len(server.mails) == 1)

    assert server.mails[0].message["Subject"] == "Webhook endpoint disabled: 127.0.0.1"
    assert "It answered 410 Gone." in server.mails[0].text()
    assert "1 message was given up" in server.mails[0].text()
