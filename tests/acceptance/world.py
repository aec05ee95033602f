"""What an acceptance test talks with: an installation's public API, NATS, and a receiver.

Clients open with the `World` and close with it; the second gateway is `world.gates[1]`.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import cached_property, partial
from types import ModuleType
from typing import Any, TypeVar

import httpx
import standardwebhooks
import svix
from nats.aio.client import Client
from nats.errors import Error as NatsError
from svix.api import (
    ApplicationIn,
    ApplicationOut,
    EndpointIn,
    EndpointMessageOut,
    EndpointOut,
    EventTypeUpsertIn,
    MessageAttemptListAttemptedMessagesOptions,
    MessageAttemptListByMsgOptions,
    MessageAttemptOut,
    MessageIn,
    MessageListOptions,
    MessageOut,
    MessageStatus,
    SvixAsync,
)

from tests.clients import Svix, plain_client
from tests.installation import Installation
from tests.receiver import Received, Receiver
from tests.services import connected

TYPE = "invoice.paid"
OTHER_TYPE = "invoice.voided"
PATIENCE_S = 15.0  # what may take a moment may take longer on a busy machine
_MOST = 250  # of a page
Found = TypeVar("Found")


class Gate:
    """Clients of one gateway; each is made when it is first used."""

    def __init__(self, url: str, key: str, clients: AsyncExitStack) -> None:
        self._url = url
        self._key = key
        self._clients = clients

    @cached_property
    def svix(self) -> SvixAsync:
        """The official client; it does not try again."""
        made = Svix(self._url, self._key)
        self._clients.push_async_callback(made.aclose)
        return made

    @cached_property
    def http(self) -> httpx.AsyncClient:
        """A plain client."""
        headers = {"authorization": f"Bearer {self._key}"}
        made = plain_client(base_url=self._url, headers=headers, timeout=PATIENCE_S)
        self._clients.push_async_callback(made.aclose)
        return made


class World:
    """One environment of an installation."""

    def __init__(
        self,
        here: Installation,
        receiver: Receiver,
        clients: AsyncExitStack,
        *,
        key: str,
        environment_id: str | None = None,
    ) -> None:
        self.here = here
        self.receiver = receiver
        self.environment_id = environment_id
        self.key = key
        self.gates = [Gate(url, key, clients) for url in here.urls]
        self._clients = clients
        self._bus: Client | None = None

    @property
    def svix(self) -> SvixAsync:
        return self.gates[0].svix

    @property
    def http(self) -> httpx.AsyncClient:
        return self.gates[0].http

    async def bus(self) -> Client:
        """Give a connection to NATS, as a service of ours would have it."""
        if self._bus is None:
            self._bus = await self._clients.enter_async_context(connected(self.here.nats_url))
        return self._bus

    async def elsewhere(self) -> "World":
        """Make an environment of one's own, and a key that acts there only."""
        made = await self.http.post(
            "/api/v1/management/environment", json={"name": "elsewhere", "type": "development"}
        )
        environment_id = made.json()["id"]
        keys = f"/api/v1/management/authentication/{environment_id}/api-token"
        key = await self.http.post(keys, json={"name": "test"})
        return World(
            self.here,
            self.receiver,
            self._clients,
            key=key.json()["token"],
            environment_id=environment_id,
        )

    # What there is to be.

    async def app(self, uid: str | None = None, **fields: object) -> ApplicationOut:
        """Make an app."""
        uid = uid or f"app-of-test-{secrets.token_hex(4)}"
        return await self.svix.application.create(ApplicationIn(name=uid, uid=uid, **fields))

    async def endpoint(
        self,
        app: ApplicationOut,
        path: str,
        *,
        waits_s: Sequence[float] | None = None,
        **fields: object,
    ) -> EndpointOut:
        """Make an endpoint that leads to a path of the receiver.

        Args:
            app: Whose.
            path: Of the receiver.
            waits_s: Its own retry schedule.
            fields: As the SDK has them.
        """
        given = EndpointIn(**{"url": self.receiver.url(path), **fields})
        made = await self.svix.endpoint.create(app.id, given)
        if waits_s is not None:
            policy = {"retryPolicy": list(waits_s)}
            path = f"/api/v1/app/{app.id}/endpoint/{made.id}"
            (await self.http.patch(path, json=policy)).raise_for_status()
        return made

    async def event_types(self, *names: str) -> None:
        """Make event types, for filters."""
        for name in names:
            await self.svix.event_type.upsert(name, EventTypeUpsertIn(description=name))

    # What is published.

    async def publish(
        self,
        app: ApplicationOut,
        payload: Mapping[str, Any] | None = None,
        *,
        event_type: str = TYPE,
        gate: int = 0,
        **fields: object,
    ) -> MessageOut:
        """Publish an event by HTTP."""
        given = MessageIn(event_type=event_type, payload=dict(payload or {"a": 1}), **fields)
        return await self.gates[gate].svix.message.create(app.id, given)

    async def publish_bytes(
        self, app: ApplicationOut, payload: bytes, *, gate: int = 0
    ) -> httpx.Response:
        """Publish exactly these bytes by HTTP."""
        body = b'{"eventType": "%b", "payload": %b}' % (TYPE.encode(), payload)
        return await self.gates[gate].http.post(
            f"/api/v1/app/{app.id}/msg", content=body, headers={"content-type": "application/json"}
        )

    async def publish_on_nats(
        self, subject: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish an event to the stream; returns once the stream has it."""
        jetstream = (await self.bus()).jetstream()
        await jetstream.publish(subject, body, headers=dict(headers or {}))

    # What became of it.

    async def messages(self, app: ApplicationOut, *, n: int) -> list[MessageOut]:
        """Wait for `n` messages of an app, newest first."""

        async def look() -> list[MessageOut] | None:
            page = await self.svix.message.list(app.id, MessageListOptions(limit=_MOST))
            assert len(page.data) <= n
            return page.data if len(page.data) == n else None

        return await until(look)

    async def standing(self, app: ApplicationOut, message_id: str) -> dict[str, MessageStatus]:
        """Say where each delivery of a message stands, by endpoint id."""
        page = await self.svix.message_attempt.list_attempted_destinations(app.id, message_id)
        return {one.id: one.status for one in page.data}

    async def stands(
        self, app: ApplicationOut, message_id: str, wanted: Mapping[str, MessageStatus]
    ) -> None:
        """Wait until the deliveries of a message, no more and no fewer, stand so."""

        async def look() -> bool:
            return await self.standing(app, message_id) == wanted

        await until(look)

    async def ended(
        self, app: ApplicationOut, endpoint: EndpointOut, message_id: str, status: MessageStatus
    ) -> None:
        """Wait until a delivery has ended so."""

        async def look() -> bool:
            return (await self.standing(app, message_id)).get(endpoint.id) == status

        await until(look)

    async def attempts(
        self, app: ApplicationOut, message_id: str, *, with_content: bool = False
    ) -> list[MessageAttemptOut]:
        """Give the attempts to deliver a message, oldest first."""
        options = MessageAttemptListByMsgOptions(limit=_MOST, with_content=with_content)
        page = await self.svix.message_attempt.list_by_msg(app.id, message_id, options)
        return page.data[::-1]

    async def letters(self, app: ApplicationOut, **query: str) -> list[dict[str, Any]]:
        """Give the dead letters of an app, newest first."""
        answered = await self.http.get(f"/api/v1/app/{app.id}/dead-letter", params=query)
        answered.raise_for_status()
        return list(answered.json()["data"])

    async def letter(self, app: ApplicationOut, **query: str) -> dict[str, Any]:
        """Wait for the only dead letter of an app."""

        async def look() -> list[dict[str, Any]]:
            return await self.letters(app, **query)

        [found] = await until(look)
        return found

    async def every_message(self, app: ApplicationOut) -> list[MessageOut]:
        """Walk the log of an app to its end."""
        options = MessageListOptions(limit=_MOST, with_content=True)
        return await _walk(options, partial(self.svix.message.list, app.id))

    async def every_message_of(
        self, app: ApplicationOut, endpoint: EndpointOut
    ) -> list[EndpointMessageOut]:
        """Walk the log of an endpoint to its end."""
        options = MessageAttemptListAttemptedMessagesOptions(limit=_MOST, with_content=True)
        listed = self.svix.message_attempt.list_attempted_messages
        return await _walk(options, partial(listed, app.id, endpoint.id))


@asynccontextmanager
async def world_of(here: Installation, receiver: Receiver) -> AsyncIterator[World]:
    """Talk with an installation's default environment."""
    async with AsyncExitStack() as clients:
        yield World(here, receiver, clients, key=here.key)


async def until(
    look: Callable[[], Awaitable[Found]], *, within_s: float = PATIENCE_S, every_s: float = 0.03
) -> Found:
    """Look again and again until there is something to see; give it."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not (found := await look()):
        assert asyncio.get_running_loop().time() < deadline, f"{look} not within {within_s} s"
        await asyncio.sleep(every_s)
    return found


async def _walk(options: Any, page_of: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    found: list[Any] = []
    while True:
        page = await page_of(options)
        found += page.data
        if page.done:
            return found
        options = replace(options, iterator=page.iterator)


def verifies(received: Received, secret: str) -> bool:
    """Tell what both reference libraries say of a request and a secret."""
    headers = dict(received.headers)
    told = {_says(library, secret, received.body, headers) for library in _LIBRARIES}
    assert len(told) == 1, "the reference libraries differ"
    return told.pop()


_LIBRARIES: Iterable[ModuleType] = (standardwebhooks, svix)


def _says(library: ModuleType, secret: str, body: bytes, headers: dict[str, str]) -> bool:
    if library is standardwebhooks and "webhook-id" not in headers:
        headers = {name.replace("svix-", "webhook-"): value for name, value in headers.items()}
    try:
        library.Webhook(secret).verify(body, headers)
    except library.WebhookVerificationError:
        return False
    return True


class Load:
    """Publishes numbered events by HTTP and NATS, and keeps what was accepted, to be compared.

    A publication that failed may have been accepted or not; one that was answered was.
    """

    def __init__(self, world: World, app: ApplicationOut) -> None:
        self.accepted: dict[int, str | None] = {}  # message ids by number; NATS tells none
        self.tried: set[int] = set()
        self._world = world
        self._app = app
        self._numbers = itertools.count(1)
        self._stopping = False

    @asynccontextmanager
    async def running(self, *, by_http: int, by_nats: int) -> AsyncIterator[None]:
        """Publish for as long as this lasts, by so many at once."""
        async with asyncio.TaskGroup() as group:
            for gate in itertools.islice(itertools.cycle(self._world.gates), by_http):
                group.create_task(self._repeat(partial(self._post, gate)))
            for _ in range(by_nats):
                group.create_task(self._repeat(self._send))
            try:
                yield
            finally:
                self._stopping = True

    async def more(self, n: int) -> None:
        """Wait until so many more were accepted."""
        wanted = len(self.accepted) + n

        async def look() -> bool:
            return len(self.accepted) >= wanted

        await until(look, within_s=30)

    async def _repeat(self, publish: Callable[[int], Awaitable[None]]) -> None:
        while not self._stopping:
            number = next(self._numbers)
            self.tried.add(number)
            await publish(number)
            await asyncio.sleep(0.01)

    async def _post(self, gate: Gate, number: int) -> None:
        message = {"eventType": TYPE, "payload": {"number": number}}
        try:
            answered = await gate.http.post(f"/api/v1/app/{self._app.id}/msg", json=message)
        except httpx.TransportError:
            await asyncio.sleep(0.1)
            return
        if answered.status_code == 202:
            self.accepted[number] = answered.json()["id"]
        else:
            assert answered.status_code >= 500, answered.text

    async def _send(self, number: int) -> None:
        subject, body = f"events.{self._app.id}.{TYPE}", b'{"number":%d}' % number
        try:
            await self._world.publish_on_nats(
                subject, body, {"Nats-Msg-Id": f"{self._app.id}-{number}"}
            )
        except (NatsError, TimeoutError, OSError):
            await asyncio.sleep(0.1)
            return
        self.accepted[number] = None
