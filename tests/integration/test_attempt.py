import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from ipaddress import ip_network
from typing import cast

import pytest

from dispatcher.attempt import KEPT_HEADERS, Attempter, Shapes
from dispatcher.credentials import OWN_HEADERS
from dispatcher.egress import ProxyKind
from dispatcher.guard import Guard, Resolve
from dispatcher.match import Target
from dispatcher.oauth import OauthClient
from dispatcher.shaping import Shaped, Unshaped
from dispatcher.tokens import Token
from dispatcher.transport import Transport, request_head
from dispatcher.verdict import decide
from schema.address import AddressPolicy, EndpointUrl, check_url
from schema.delivery import Fault, Retry
from schema.endpoint import EndpointState
from schema.retry import RetryPolicy
from signer.secret import SecretKind, SigningSecret
from signer.standard import Check, Signer, verify
from signer.tls import client_context
from tests.listener import HOST
from tests.proxies import TunnelProxy
from tests.receiver import Received, Receiver, Writer, answer, hang, raw

NOW = datetime(2026, 3, 1, 12, 0, 0, 500_000, tzinfo=UTC)
POLICY = AddressPolicy(allowed_networks=(ip_network("127.0.0.0/8"),))
NAME = "hooks.example.com"
MESSAGE = "msg_2abcdefghijklmnopqrstuvwxyz"
BODY = b'{ "a" : 1.0, "a": "\xc3\xa9" }\n'
SECRETS = [
    SigningSecret(kind=SecretKind.HMAC256, key=bytes(range(start, start + 24))) for start in (0, 50)
]


class NoTokens:
    async def get(self, client: OauthClient, until: float) -> Token:
        raise NotImplementedError

    def answered(self, client: OauthClient, token: Token, status: int) -> None:
        raise NotImplementedError


async def loopback(_: str, __: str) -> Sequence[str]:
    return [HOST]


def a_target(
    port: int, *, headers: Sequence[tuple[bytes, bytes]] = OWN_HEADERS, secrets: int = 1
) -> Target:
    url = check_url(f"http://{NAME}:{port}/hook", POLICY)
    return Target(
        app_id="app_1",
        id="ep_1",
        shard=0,
        state=EndpointState.ACTIVE,
        url_text=url.text,
        url=url,
        head=request_head(url, headers),
        signer=Signer(SECRETS[:secrets]),
        event_types=None,
        channels=None,
        retry_policy=RetryPolicy(waits_s=(5.0,)),
        type_policies={},
        throttle_rate=None,
        ordered=False,
    )


class NoCode:
    """No endpoint here has code that makes its requests."""

    async def shape(self, *asked: object) -> Shaped:
        raise AssertionError(asked)


class Elsewhere:
    """Has a request go to another place than the endpoint's."""

    def __init__(self, port: int) -> None:
        self._url = check_url(f"http://else.example.com:{port}/in", POLICY)

    async def shape(self, _target: Target, _url: EndpointUrl, message: Unshaped) -> Shaped:
        head = request_head(self._url, OWN_HEADERS)
        return Shaped(self._url, head, message.payload, message.content_type)


@asynccontextmanager
async def an_attempter(
    *,
    shaper: Shapes | None = None,
    resolve: Resolve = loopback,
    timeout_s: float = 20.0,
    kept_bytes: int = 16_384,
    svix_headers: bool = False,
    proxy: TunnelProxy | None = None,
) -> AsyncIterator[Attempter]:
    guard = Guard(POLICY, resolve)
    transport = Transport(
        permits=guard.permits, tls=client_context(), proxy=proxy.proxy if proxy else None
    )
    yield Attempter(
        guard=guard,
        transport=transport,
        tokens=NoTokens(),
        shaper=shaper or NoCode(),
        clock=lambda: NOW,
        timeout_s=timeout_s,
        kept_bytes=kept_bytes,
        svix_headers=svix_headers,
    )
    await transport.aclose()


def checked(received: Received) -> Check:
    headers = dict(received.headers)
    now = NOW.timestamp()
    return verify(SECRETS, headers=headers, body=received.body, now=now)


async def test_what_proves_who_we_are_does_not_go_where_code_sends_else() -> None:
    async with (
        Receiver() as receiver,
        an_attempter(shaper=Elsewhere(receiver.port)) as attempter,
    ):
        target = replace(
            a_target(receiver.port), transforms=True, oauth=cast("OauthClient", object())
        )

        elsewhere = await attempter.attempt(target, MESSAGE, BODY, "application/json")
        own = await attempter.attempt(
            replace(target, transforms=False), MESSAGE, BODY, "application/json"
        )

    assert elsewhere.status == 200
    assert elsewhere.url == f"http://else.example.com:{receiver.port}/in"
    assert own.fault is Fault.INTERNAL  # a token was asked for, of which there is none here
    [received] = receiver.requests
    assert received.header("authorization") is None


@pytest.mark.parametrize("secrets", [1, 2])
async def test_a_receiver_verifies_what_was_sent_with_each_live_secret(secrets: int) -> None:
    async with Receiver() as receiver, an_attempter() as attempter:
        target = a_target(receiver.port, secrets=secrets)

        outcome = await attempter.attempt(target, MESSAGE, BODY, "application/json")

        [received] = receiver.requests
        assert outcome.status == 200
        assert received.body == BODY
        assert checked(received) is Check.VERIFIED
        signatures = received.header("webhook-signature") or ""
        assert signatures.count("v1,") == secrets


async def test_the_headers_of_an_attempt_are_these() -> None:
    async with Receiver() as receiver, an_attempter() as attempter:
        await attempter.attempt(a_target(receiver.port), MESSAGE, BODY, "text/plain; charset=utf-8")

        headers = receiver.requests[0].headers
        assert [(name, value) for name, value in headers if name != "webhook-signature"] == [
            ("host", f"{NAME}:{receiver.port}"),
            ("accept-encoding", "identity"),
            ("user-agent", "Hookline/0.1"),
            ("accept", "*/*"),
            ("content-type", "text/plain; charset=utf-8"),
            ("webhook-id", MESSAGE),
            ("webhook-timestamp", str(int(NOW.timestamp()))),
            ("content-length", str(len(BODY))),
        ]


async def test_svixs_names_carry_the_same_if_they_are_wanted() -> None:
    async with Receiver() as receiver, an_attempter(svix_headers=True) as attempter:
        await attempter.attempt(a_target(receiver.port), MESSAGE, BODY, "application/json")

        [received] = receiver.requests
        for name in ("id", "timestamp", "signature"):
            assert received.header(f"svix-{name}") == received.header(f"webhook-{name}") is not None


@pytest.mark.parametrize(
    ("message_id", "content_type"),
    [
        ("msg_1\r\nEvil: 1", "application/json"),
        ("msg_1\n", "application/json"),
        ("msg_\u00e9", "application/json"),
        (MESSAGE, "text/plain\r\nEvil: 1"),
        (MESSAGE, "text/plain\x00"),
    ],
    ids=["id-crlf", "id-lf", "id-latin", "type-crlf", "type-nul"],
)
async def test_what_would_break_the_head_is_never_sent(
    message_id: str, content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Receiver() as receiver, an_attempter() as attempter:
        outcome = await attempter.attempt(a_target(receiver.port), message_id, BODY, content_type)

        assert outcome.fault is Fault.INTERNAL
        assert receiver.connections == 0
        assert "an attempt failed on our side" in caplog.text


async def test_of_a_good_answer_the_log_keeps_the_body_up_to_its_bound() -> None:
    async with Receiver() as receiver, an_attempter(kept_bytes=4) as attempter:
        receiver.script(
            "/", answer(201, {"Retry-After": "9", "webhook-delivery": "disable"}, b"12345")
        )

        outcome = await attempter.attempt(
            a_target(receiver.port), MESSAGE, BODY, "application/json"
        )

        assert (outcome.status, outcome.body, outcome.truncated) == (201, b"1234", True)
        assert (outcome.headers, outcome.retry_after_s, outcome.control) == ((), None, None)
        assert (outcome.address, outcome.reused, outcome.tls) == (HOST, False, None)
        assert len(outcome.phases_ms) == 5


async def test_of_a_failed_answer_the_log_keeps_the_headers_less_what_is_secret() -> None:
    many = {f"X-{n}": "y" * 600 for n in range(40)}
    given = {"Set-Cookie": "s=1", "WWW-Authenticate": "Basic", "X-Nul": "a\tb", **many}
    async with Receiver() as receiver, an_attempter() as attempter:
        receiver.script("/", answer(500, given))

        outcome = await attempter.attempt(
            a_target(receiver.port), MESSAGE, BODY, "application/json"
        )

        kept = dict(outcome.headers)
        assert len(outcome.headers) == KEPT_HEADERS
        assert (kept["set-cookie"], kept["www-authenticate"]) == ("***", "***")
        assert kept["x-0"] == "y" * 512


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("1.5", 1.5),
        ("99999999999", 99_999_999_999.0),
        (format_datetime(NOW.replace(minute=1)), 59.5),
        (format_datetime(NOW.replace(year=2025)), 0.0),
        ("-1", None),
        ("soon", None),
        ("", None),
    ],
)
async def test_retry_after_is_read_in_seconds_or_as_a_date(
    value: str, seconds: float | None
) -> None:
    async with Receiver() as receiver, an_attempter() as attempter:
        receiver.script("/", answer(429, {"Retry-After": value}))

        outcome = await attempter.attempt(
            a_target(receiver.port), MESSAGE, BODY, "application/json"
        )

        assert outcome.retry_after_s == seconds


async def test_what_a_failed_answer_says_about_the_delivery_is_handed_on() -> None:
    async with Receiver() as receiver, an_attempter() as attempter:
        receiver.script("/", answer(500, {"Webhook-Delivery": " Abort-Message "}))

        outcome = await attempter.attempt(
            a_target(receiver.port), MESSAGE, BODY, "application/json"
        )

        assert outcome.control == "abort-message"


async def test_an_attempt_tells_when_its_request_leaves_and_not_before() -> None:
    told: list[int] = []
    async with Receiver() as receiver, an_attempter() as attempter:

        async def behave(_: Received, writer: Writer) -> None:
            told.append(receiver.connections)
            await writer.answer()

        receiver.script("/", behave)
        await attempter.attempt(
            a_target(receiver.port),
            MESSAGE,
            BODY,
            "application/json",
            on_sending=lambda: told.append(0),
        )

        assert told == [0, 1]


async def test_resolving_counts_into_the_one_deadline() -> None:
    async def never(_: str, __: str) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with an_attempter(resolve=never, timeout_s=0.2) as attempter:
        outcome = await attempter.attempt(a_target(8080), MESSAGE, BODY, "application/json")

        assert (outcome.fault, outcome.detail) == (
            Fault.TIMEOUT,
            "the name was not resolved in time",
        )
        assert 190 <= outcome.duration_ms < 2000


async def test_a_refused_address_is_not_dialled_and_shown_as_not_allowed() -> None:
    async def inward(_: str, __: str) -> Sequence[str]:
        return ["169.254.169.254"]

    async with an_attempter(resolve=inward) as attempter:
        outcome = await attempter.attempt(a_target(8080), MESSAGE, BODY, "application/json")

        assert (outcome.fault, outcome.detail) == (Fault.BLOCKED, "address not allowed")
        assert outcome.address is None


@pytest.mark.parametrize(
    ("behaviour", "fault"),
    [(hang(), Fault.TIMEOUT), (raw(b"SSH-2.0-x\r\n"), Fault.PROTOCOL)],
    ids=["hang", "nonsense"],
)
async def test_what_is_no_answer_is_an_outcome(behaviour: object, fault: Fault) -> None:
    async with Receiver() as receiver, an_attempter(timeout_s=0.4) as attempter:
        receiver.script("/", behaviour)  # type: ignore[arg-type]

        outcome = await attempter.attempt(
            a_target(receiver.port), MESSAGE, BODY, "application/json"
        )

        assert (outcome.status, outcome.fault, outcome.address) == (None, fault, HOST)
        assert len(outcome.phases_ms) == 5


@pytest.mark.parametrize("kind", list(ProxyKind), ids=[kind.name.lower() for kind in ProxyKind])
async def test_a_fault_of_the_egress_proxy_is_explained_and_tried_again(
    kind: ProxyKind, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with TunnelProxy(kind, user="hookline", password="pa55-word") as proxy:
        pass
    async with an_attempter(proxy=proxy) as attempter:
        target = a_target(8080)

        outcome = await attempter.attempt(target, MESSAGE, BODY, "application/json")
        verdict = decide(
            outcome, policy=target.retry_policy, failures=0, now=NOW, dice=0.0, jitter=0.0
        )

        assert (outcome.fault, outcome.detail) == (
            Fault.PROXY,
            "the egress proxy cannot be reached",
        )
        assert isinstance(verdict, Retry)
        assert "pa55-word" not in json.dumps(repr(outcome)) + caplog.text
