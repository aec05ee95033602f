"""`hookline demo`: four receivers, a trickle of sample events, and the story of what they become.

It is a client like any other: the public API and NATS are all that it uses, and what it registers
has uids, so that a later run finds it again. Durations are seconds.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

import httpx
import orjson
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from deploy.clock import now
from deploy.connections import connected_bus
from deploy.demo_receiver import BROKEN, FLAKY, HEALTHY, SLOW, SLOW_S, Receivers, sample
from deploy.demo_story import PAUSE_S, Mood, Story, Teller
from deploy.faults import StartFault
from deploy.home import Home, read_env
from deploy.http_server import Server
from deploy.ports import LOOPBACK, claim
from deploy.settings import Settings
from schema.event import publish_subject
from signer.secret import parse

APP: Final = "demo"
EVERY_S: Final = 0.5  # an event
REPAIR_AFTER_S: Final = 10.0  # from the dead letter
REPAIRED_S: Final = 20.0
_LOOK_S: Final = 1.0
_PATIENCE_S: Final = 3.0  # with what does not answer as it should
_SUM_UP_S: Final = 15.0
_ANSWER_S: Final = 10.0

ENDPOINTS: Final[Mapping[str, tuple[str | None, tuple[float, ...], str]]] = {
    # its event type (None: all), the waits before its retries, what it is like
    HEALTHY: (None, (2, 4), "answers at once"),
    SLOW: ("report.ready", (5, 10), f"answers after {SLOW_S:g} s"),
    FLAKY: ("user.created", (2, 4, 8), "refuses each message twice, then accepts it"),
    BROKEN: ("invoice.paid", (2, 3), "always fails, until somebody repairs it"),
}
_CYCLE: Final = (  # an event of each special type every 12 s, and two of other types between
    *("invoice.paid", "order.placed", "order.shipped", "order.placed", "user.created"),
    *("order.shipped", "order.placed", "order.shipped", "order.placed", "report.ready"),
    *("order.shipped", "order.placed") * 7,
)


@dataclass(frozen=True, slots=True)
class Refused(Exception):
    """The API answered with an error."""

    status: int
    text: str

    def __str__(self) -> str:
        return f"{self.status} {self.text}"


class Api:
    """The public API, as a client sees it."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """Take a client that knows address and key."""
        self._client = client

    async def call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 JSON
        """Send a request and give the answer's JSON.

        Raises:
            Refused: The answer is an error.
            httpx.HTTPError: There is no answer.
        """
        content = None if body is None else orjson.dumps(body)
        response = await self._client.request(method, f"/api/v1{path}", content=content)
        if not response.is_success:
            raise Refused(response.status_code, response.text[:300])
        return response.json() if response.content else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """Everything that the demo's tasks share."""

    api: Api
    stream: JetStreamContext
    receivers: Receivers
    teller: Teller
    story: Story

    async def run(self) -> None:
        """Publish, redeliver and tell, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.teller.run())
            group.create_task(self._publish())
            group.create_task(self._redeliver())
            group.create_task(self._sum_up())

    async def register(self, port: int) -> None:
        """Make app, event types and endpoints, or bring those of an earlier run up to date.

        Raises:
            StartFault: The API refuses.
        """
        try:
            await self.api.call("PUT", f"/app/{APP}", {"name": "Demo", "uid": APP})
            for name in sorted(set(_CYCLE)):
                await self.api.call("PUT", f"/event-type/{name}", {"description": "of the demo"})
            for name, (event_type, waits_s, description) in ENDPOINTS.items():
                endpoint = {
                    "uid": name,
                    "url": f"http://{LOOPBACK}:{port}/{name}",
                    "description": description,
                    "filterTypes": [event_type] if event_type else None,
                    "retryPolicy": waits_s,
                }
                await self.api.call("PUT", f"/app/{APP}/endpoint/{name}", endpoint)
                secret = await self.api.call("GET", f"/app/{APP}/endpoint/{name}/secret")
                self.receivers.secrets[name] = parse(secret["key"])
        except Refused as refused:
            hint = "; is this `hookline up --demo`?" if "url" in refused.text else ""
            raise StartFault(f"the API refuses the demo: {refused}{hint}") from refused
        except httpx.HTTPError as error:
            raise StartFault(f"the API does not answer: {error!r}") from error

    async def _publish(self) -> None:
        """Publish the trickle, by HTTP and by NATS in turn."""
        self.teller.tell(f"app {APP} has four endpoints: {', '.join(ENDPOINTS)}", Mood.NEWS)
        self.teller.tell(f"publishing {1 / EVERY_S:g} events a second, by HTTP and NATS in turn")
        for number in count():
            event_type = _CYCLE[number % len(_CYCLE)]
            payload = sample(event_type, number, now())
            try:
                if number % 2:
                    await self._publish_by_nats(event_type, payload)
                else:
                    body = {"eventType": event_type, "payload": payload}
                    await self.api.call("POST", f"/app/{APP}/msg", body)
                self.story.counts["published"] += 1
            except (Refused, httpx.HTTPError, NatsError, TimeoutError) as error:
                self.teller.tell(f"{event_type} was not taken: {error!r}", Mood.BAD)
                await asyncio.sleep(_PATIENCE_S)
            await asyncio.sleep(EVERY_S)

    async def _publish_by_nats(self, event_type: str, payload: Mapping[str, Any]) -> None:
        subject, headers = publish_subject(APP, event_type)
        await self.stream.publish(
            subject, orjson.dumps(payload), timeout=_ANSWER_S, headers=headers or None
        )

    async def _redeliver(self) -> None:
        """Wait for a dead letter, repair the endpoint, redeliver; break it again; and so on."""
        while True:
            try:
                await self._redeliver_one(await self._next_letter())
            except (Refused, httpx.HTTPError) as error:
                self.teller.tell(f"the API: {error!r}", Mood.BAD)
                await asyncio.sleep(_PATIENCE_S)
            finally:
                self.receivers.is_repaired = False

    async def _redeliver_one(self, letter: str) -> None:
        path = f"/app/{APP}/dead-letter/{letter}"
        parked = await self.api.call("GET", path)
        what = f"{parked['eventType']} for {BROKEN}"
        self.teller.tell(f"{what} is parked, a dead letter now: {letter}", Mood.NEWS)
        await asyncio.sleep(REPAIR_AFTER_S)
        self.receivers.is_repaired = True
        self.teller.tell(f"{BROKEN} has been repaired", Mood.NEWS)
        await asyncio.sleep(PAUSE_S)
        self.story.redelivering = parked["messageId"]
        self.teller.tell(f"redelivering {letter}", Mood.NEWS)
        await self.api.call("POST", f"{path}/redeliver")
        await asyncio.sleep(REPAIRED_S)
        self.teller.tell(f"{BROKEN} is broken again", Mood.NEWS)

    async def _next_letter(self) -> str:
        """Wait for a dead letter that is newer than all that are there."""
        newest = await self._newest_letter()
        while True:
            await asyncio.sleep(_LOOK_S)
            letter = await self._newest_letter()
            if letter > newest:
                return letter

    async def _newest_letter(self) -> str:
        page = await self.api.call("GET", f"/app/{APP}/dead-letter?limit=1")
        return page["data"][0]["id"] if page["data"] else ""

    async def _sum_up(self) -> None:
        while True:
            await asyncio.sleep(_SUM_UP_S)
            self.story.sum_up()


async def run(settings: Settings, *, colour: bool) -> None:
    """Run the demo against the installation in the home until SIGTERM or SIGINT.

    Raises:
        StartFault: No installation runs there, or it refuses.
    """
    bound = claim(LOOPBACK, 0, shared=False)
    async with _opened(settings, colour=colour) as demo:
        await demo.register(bound.getsockname()[1])
        server = Server(demo.receivers.app(), drain_s=SLOW_S + 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve_on(bound))
            telling = group.create_task(demo.run())
            with _cancelled_on_stop(telling):
                await asyncio.wait((telling,))
            server.end()


@asynccontextmanager
async def _opened(settings: Settings, *, colour: bool) -> AsyncIterator[Demo]:
    url, key = _address(settings)
    teller = Teller(clock=now, colour=colour)
    story = Story(teller, waits_s={name: waits_s for name, (_, waits_s, _) in ENDPOINTS.items()})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=_ANSWER_S) as client,
        connected_bus(settings, name="demo") as bus,
    ):
        yield Demo(
            api=Api(client),
            stream=bus.jetstream(),
            receivers=Receivers(clock=now, on_arrival=story.arrived),
            teller=teller,
            story=story,
        )


def _address(settings: Settings) -> tuple[str, str]:
    """Give the API's address and the operator's key."""
    home = Home.at(settings.home)
    url = read_env(home).get("HOOKLINE_URL")
    try:
        key = home.operator_key.read_text().strip()
    except OSError:
        key = ""
    if not url or not key:
        raise StartFault(f"run `hookline up --demo` with {home.root}: nothing is there yet")
    return url, key


@contextmanager
def _cancelled_on_stop(task: asyncio.Task[None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)
    for one in wanted:
        loop.add_signal_handler(one, task.cancel)
    try:
        yield
    finally:
        for one in wanted:
            loop.remove_signal_handler(one)
