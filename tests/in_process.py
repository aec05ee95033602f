"""Requests to a gateway without a socket between: for tests that make thousands of them."""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer."""

    status: int
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(app: ASGIApp, method: str, path: str, *, key: str | None) -> Said:
    """Ask with an empty object as the body, showing a key or none."""
    shown = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"host", b"localhost"), (b"content-type", b"application/json"), *shown],
        "server": ("localhost", 80),
    }
    sent: list[Message] = []

    coming: list[Message] = [{"type": "http.request", "body": b"{}"}]

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()  # the caller stays
        return coming.pop()

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return Said(status=sent[0]["status"], body=body)
