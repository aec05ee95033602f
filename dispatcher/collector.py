"""Sends spans to an environment's collector: through the guard and the transport, like attempts.

What a collector does is never an error here. Durations are seconds.
"""

import asyncio
import json
from enum import StrEnum
from typing import Final, NamedTuple

import httpx

from dispatcher.fault import DeliveryFault
from dispatcher.guard import Guard
from dispatcher.otel_spans import MEDIA, read_answer
from dispatcher.post import Post, Posts, Reply
from dispatcher.transport import request_head
from schema.address import AddressPolicy, EndpointUrl, UrlFault
from schema.delivery import is_success
from schema.endpoint import SENT_ALWAYS
from schema.otel import ASK_S, headers_context, target
from signer.errors import SignerError
from signer.vault import Vault

WHY_CHARS: Final = 300  # of what a collector said
_TYPE: Final = ("Content-Type", MEDIA)
_REFUSALS: Final = frozenset({400, 413, 422})  # of what was sent, not of who sent it


class Result(StrEnum):
    """What became of a request; the words are a metric's labels too."""

    EXPORTED = "exported"
    REJECTED = "rejected"  # the same would be rejected again
    DELAYED = "delayed"  # not taken, and worth another try


class Said(NamedTuple):
    """What came of a request; `rejected` counts the spans of one that was exported for the rest."""

    result: Result
    why: str | None = None
    rejected: int = 0
    retry_after_s: float | None = None


class Place(NamedTuple):
    """A collector, as it is stored."""

    environment_id: str
    url: str
    headers: bytes | None


class Collectors:
    """Sends to collectors with what attempts go by."""

    def __init__(
        self, *, guard: Guard, transport: Posts, vault: Vault, policy: AddressPolicy
    ) -> None:
        """Take the parts."""
        self._guard = guard
        self._transport = transport
        self._vault = vault
        self._policy = policy

    async def send(self, place: Place, body: bytes) -> Said:
        """Send a request of OTLP; it takes no longer than `ASK_S`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + ASK_S
        try:
            url = target(place.url, self._policy)
            head = self._head(place, url)
            async with asyncio.timeout_at(until):
                addresses = await self._guard.addresses(url, place.environment_id)
            post = Post(url, addresses, max(until - loop.time(), 0.001), head, body)
            return _said(await self._transport.post(post))
        except DeliveryFault as fault:
            return Said(Result.DELAYED, f"{fault.kind}: {fault.detail}")
        except TimeoutError:
            return Said(Result.DELAYED, "dns: the name was not resolved in time")
        except UrlFault as fault:
            return Said(Result.DELAYED, str(fault))
        except (SignerError, httpx.LocalProtocolError, ValueError):
            return Said(Result.DELAYED, "its headers cannot be sent: set them again")

    def _head(self, place: Place, url: EndpointUrl) -> bytes:
        headers: dict[str, str] = {}
        if place.headers is not None:
            context = headers_context(place.environment_id)
            headers = json.loads(self._vault.open(place.headers, context=context))
        lines = (*SENT_ALWAYS, _TYPE, *headers.items())
        return request_head(url, [(n.encode("ascii"), v.encode("latin-1")) for n, v in lines])


def _said(reply: Reply) -> Said:
    if is_success(reply.status):
        partly = read_answer(reply.body)
        return Said(Result.EXPORTED, _shown(partly.why) or None, partly.rejected)
    why = f"the collector answered {reply.status}"
    text = _shown(reply.body.decode("utf-8", "replace"))
    if text:
        why = f"{why}: {text}"
    if reply.status in _REFUSALS:
        return Said(Result.REJECTED, why)
    return Said(Result.DELAYED, why, retry_after_s=_retry_after_s(reply))


def _shown(text: str) -> str:
    """Give the beginning of what somebody else wrote, as one line that can be shown and stored."""
    short = text[: 2 * WHY_CHARS]
    return " ".join("".join(c if c.isprintable() else " " for c in short).split())[:WHY_CHARS]


def _retry_after_s(reply: Reply) -> float | None:
    for name, value in reply.headers:
        if name.lower() == b"retry-after" and value.strip().isdigit():
            return float(value[:9])
    return None
