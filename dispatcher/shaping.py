"""Has endpoints' own code make another request of a message, before it is signed and sent.

What is to be run is read when it is needed, for all that asked meanwhile in one statement: so a
change of code counts for the next attempt, and none of it is held in memory. The code runs in other
processes (`transformer`); what it gives back is judged here like what a tenant sets by the API.
Durations are seconds.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from dispatcher.credentials import AUTHORIZATION, OWN_HEADERS
from dispatcher.fault import DeliveryFault
from dispatcher.match import Target
from dispatcher.parts import Parts
from dispatcher.reach import when_reachable
from dispatcher.transport import request_head
from schema.address import EndpointUrl, UrlFault, check_url
from schema.header_rules import CONTENT_TYPE, header_faults
from schema.store import transformation as store
from schema.store.transformation import Due
from schema.transformation import METHODS, variables_context
from transformer.call import Broken, Call, Limits, Made
from transformer.sandbox import Sandbox

READ_TOGETHER: Final = 64
_POST: Final = METHODS[0]
_OWN_TYPE: Final = frozenset({CONTENT_TYPE})


class Unshaped(NamedTuple):
    """A message for an endpoint, before its code has seen it."""

    message_id: str
    event_type: str
    payload: bytes
    content_type: str


class Shaped(NamedTuple):
    """The request that is to be made of a message.

    Attributes:
        head: As `request_head` writes it.
    """

    url: EndpointUrl
    head: bytes
    payload: bytes
    content_type: str


class CalledOff(Exception):
    """The endpoint's code wants nothing to be sent."""


class Shaper:
    """Makes requests of messages for endpoints that have code for it. `run` must be going on."""

    def __init__(self, given: Parts) -> None:
        """Start nothing yet; processes start when they are first needed."""
        config = given.config
        self._given = given
        self._policy = config.address_policy
        self._asked: list[tuple[tuple[str, str, str], asyncio.Future[Due | None]]] = []
        self._some = asyncio.Event()
        self.sandbox = Sandbox(
            Limits(
                time_s=config.transformation_time_s,
                memory_bytes=config.transformation_memory_bytes,
                result_bytes=config.max_payload_bytes,
                workers=config.transformers,
            ),
            told=given.metrics.transformed,
        )

    async def run(self) -> None:
        """Work, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sandbox.run(), name="transformers")
            while True:
                await self._some.wait()
                if not await when_reachable(self._read):
                    continue
                if not self._asked:
                    self._some.clear()

    async def shape(self, target: Target, url: EndpointUrl, message: Unshaped) -> Shaped:
        """Make the request of a message.

        Raises:
            CalledOff: Nothing is to be sent.
            DeliveryFault: The code failed, or what it gave back cannot be sent.
            SandboxFault: No code can be run here.
            VaultFault: The variables cannot be opened.
        """
        due = await self._due((target.app_id, target.id, message.message_id))
        if due is None:  # switched off since the target was made
            return Shaped(url, target.head, message.payload, message.content_type)
        answer = await self.sandbox.call(
            Call(
                owner=target.app_id,
                code=due.code,
                webhook=self._webhook(target, message, due),
                payload=message.payload,
            )
        )
        if isinstance(answer, Broken):
            raise DeliveryFault("transformation", str(answer))
        if answer.cancel:
            raise CalledOff
        return self._judged(target, url, message, answer)

    async def _due(self, key: tuple[str, str, str]) -> Due | None:
        asked: asyncio.Future[Due | None] = asyncio.get_running_loop().create_future()
        self._asked.append((key, asked))
        self._some.set()
        return await asked

    async def _read(self) -> None:
        """Read what is to be run for those that asked, some at a time."""
        some = [one for one in self._asked if not one[1].done()][:READ_TOGETHER]
        if some:
            async with self._given.pool.acquire() as link:
                found = await store.due(link, [key for key, _ in some])
            for place, (_, asked) in enumerate(some):
                if not asked.done():
                    asked.set_result(found.get(place))
        self._asked = [one for one in self._asked if not one[1].done()]

    def _webhook(self, target: Target, message: Unshaped, due: Due) -> bytes:
        """Write what `handler` is given, but for the payload."""
        variables = b"{}"
        if due.variables is not None:
            context = variables_context(target.app_id, target.id)
            variables = self._given.vault.open(due.variables, context=context)
        return orjson.dumps(
            {
                "method": _POST,
                "url": target.url_text,
                "headers": {},
                "eventType": message.event_type,
                "channels": due.channels,
                "transformationsParams": orjson.Fragment(due.params or "{}"),
                "variables": orjson.Fragment(variables),
                "cancel": False,
            }
        )

    def _judged(self, target: Target, url: EndpointUrl, message: Unshaped, made: Made) -> Shaped:
        """Hold what code gave back to the rules for what a tenant sets."""
        method = made.method or _POST
        if method not in METHODS:
            raise _fault("its method must be POST, PUT or PATCH")
        if made.url is not None and made.url != target.url_text:
            try:
                url = check_url(made.url, self._policy)
            except UrlFault as fault:
                raise DeliveryFault("blocked", f"the URL that the code returned: {fault}") from None
        headers = made.headers or {}
        wrong = next(header_faults(headers, besides=_OWN_TYPE), None)
        if wrong is not None:
            raise _fault(f"its headers: {wrong}")
        content_type = _content_type(headers) or message.content_type
        if url is target.url and method == _POST and not headers:
            return Shaped(url, target.head, made.payload, content_type)
        if target.oauth is not None and is_of_place(url, target.url):  # the token's header counts
            headers = {n: v for n, v in headers.items() if n.lower() != AUTHORIZATION}
        head = request_head(url, _merged(target.own_headers or {}, headers), method)
        return Shaped(url, head, made.payload, content_type)


def is_of_place(url: EndpointUrl, own: EndpointUrl | None) -> bool:
    """Tell whether a URL is of the same scheme, host and port as the endpoint's own."""
    return own is not None and (url.scheme, url.authority) == (own.scheme, own.authority)


def _fault(what: str) -> DeliveryFault:
    return DeliveryFault("transformation", f"what the code returned cannot be sent: {what}")


def _content_type(headers: Mapping[str, str]) -> str | None:
    return next((v for name, v in headers.items() if name.lower() == CONTENT_TYPE), None)


def _merged(own: Mapping[str, str], added: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Give the headers of a request that stay: ours, the endpoint's, and those that code set."""
    replaced = {name.lower() for name in added}
    named = [(n, v) for n, v in own.items() if n.lower() not in replaced]
    named += [(n, v) for n, v in added.items() if n.lower() != CONTENT_TYPE]
    return [*OWN_HEADERS, *((n.encode("ascii"), v.encode("latin-1")) for n, v in named)]
