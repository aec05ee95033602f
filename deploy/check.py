"""`hookline check`: looks at everything that the parts stand on, and says what is wrong with it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final

from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from deploy.connections import (
    connected_bus,
    connection,
    database_url,
    nats_url,
    open_vault,
    place,
)
from deploy.faults import StartFault
from deploy.settings import Settings
from schema.errors import HooklineError
from schema.event import STREAM
from schema.migrate import missing
from schema.store import shard

_PATIENCE_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report."""

    what: str
    ok: bool
    word: str


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Look at one thing after the other; what is wrong with one stops no other."""
    settings = replace(settings, connect_timeout_s=_PATIENCE_S)
    looks: dict[str, Callable[[Settings], Awaitable[str]]] = {
        "vault": _vault,
        "postgres": _postgres,
        "schema": _schema,
        "nats": _nats,
        "stream": _stream,
    }
    yield Finding(what="settings", ok=True, word="read")
    for what, look in looks.items():
        try:
            yield Finding(what=what, ok=True, word=await look(settings))
        except HooklineError as fault:
            yield Finding(what=what, ok=False, word=str(fault))


async def _vault(settings: Settings) -> str:
    vault = open_vault(settings)
    vault.open(vault.seal(b"", context=b"check"), context=b"check")
    return "seals and opens"


async def _postgres(settings: Settings) -> str:
    async with connection(settings) as link:
        version = await link.fetchval("SHOW server_version")
    return f"{version} at {place(database_url(settings))}"


async def _schema(settings: Settings) -> str:
    async with connection(settings) as link:
        lacking = await missing(link)
        if lacking:
            raise StartFault(f"lacks {', '.join(lacking)}: run `hookline migrate`")
        shards = await shard.count(link)
    note = "" if shards == settings.shards else f" (HOOKLINE_SHARDS={settings.shards} is not used)"
    return f"complete, {shards} shards{note}"


async def _nats(settings: Settings) -> str:
    async with connected_bus(settings, name="hookline-check") as bus:
        version = bus.connected_server_version
    return f"{version.major}.{version.minor}.{version.patch} at {place(nats_url(settings))}"


async def _stream(settings: Settings) -> str:
    async with connected_bus(settings, name="hookline-check") as bus:
        try:
            info = await bus.jetstream().stream_info(STREAM)
        except NotFoundError:
            raise StartFault(f"{STREAM} is missing: run `hookline migrate`") from None
        except NatsError as error:
            raise StartFault(f"{STREAM}: {error}") from error
    return f"{STREAM}, {info.state.messages} events, {info.state.bytes} bytes"
