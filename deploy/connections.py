"""The connections that every part stands on: Postgres, NATS, and the vault's keys.

At start they are waited for, as all may have been started at once; afterwards asyncpg and nats-py
reconnect by themselves for as long as it takes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, TypeVar

import asyncpg
from nats.aio.client import Client
from nats.errors import Error as NatsError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential

from deploy.bus import Bus
from deploy.faults import StartFault
from deploy.home import Home, read_env
from deploy.settings import Settings
from deploy.values import Secret
from schema.store.link import Pool
from schema.store.pool import open_pool, prepare_connection
from signer.errors import KeyringFault
from signer.vault import Keyring, Vault

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
_T = TypeVar("_T")

_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.TooManyConnectionsError,
)
_CONNECT_S: Final = 5
_PING_S: Final = 10  # two that are not answered mean that NATS is gone
_RECONNECT_S: Final = 1
_PENDING_BYTES: Final = 32 * 1024 * 1024  # buffered while NATS is away; then publishing fails
_log = logging.getLogger(__name__)


def database_url(settings: Settings) -> str:
    """Say where Postgres is: DATABASE_URL, or else what runs in the home.

    Raises:
        StartFault: Neither is there.
    """
    return _address(settings.database_url, "DATABASE_URL", settings)


def nats_url(settings: Settings) -> str:
    """Say where NATS is: NATS_URL, or else what runs in the home.

    Raises:
        StartFault: Neither is there.
    """
    return _address(settings.nats_url, "NATS_URL", settings)


def _address(given: Secret | None, name: str, settings: Settings) -> str:
    home = Home.at(settings.home)
    address = given.reveal() if given else read_env(home).get(name)
    if not address:
        raise StartFault(f"set {name}, or run `hookline up` in {home.root} first")
    return address


def place(url: str) -> str:
    """Write a URL without the credentials in it."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}{separator}{authority.rpartition('@')[2]}{slash}{path}"


@asynccontextmanager
async def connected_pool(
    settings: Settings, *, size: int, batches: bool = False
) -> AsyncIterator[Pool]:
    """Open a pool for as long as the context lasts.

    Raises:
        StartFault: Postgres does not answer in time, or lets nobody in.
    """
    pool: Pool = await _patiently(settings, lambda url: open_pool(url, size=size, batches=batches))
    try:
        yield pool
    finally:
        await pool.close()


@asynccontextmanager
async def connection(settings: Settings) -> AsyncIterator[Connection]:
    """Open one connection, for what is soon done.

    Raises:
        StartFault: Postgres does not answer in time, or lets nobody in.
    """
    link: Connection = await _patiently(settings, asyncpg.connect)
    try:
        await prepare_connection(link)
        yield link
    finally:
        await link.close()


class _Told:
    """What a client tells of its connection, in the log.

    Attributes:
        last: What went wrong last.
        leaving: It is ended by us.
    """

    def __init__(self, client: Client) -> None:
        self.last: Exception | None = None
        self.leaving = False
        self._client = client

    async def error(self, error: Exception) -> None:
        self.last = error
        _log.log(logging.WARNING if self._client.is_connected else logging.DEBUG, "%s", error)

    async def disconnected(self) -> None:
        if not self.leaving:
            _log.warning("nats: disconnected")

    async def connected_again(self) -> None:
        _log.info("nats: connected again")


@asynccontextmanager
async def connected_bus(settings: Settings, *, name: str) -> AsyncIterator[Client]:
    """Connect to NATS for as long as the context lasts.

    Raises:
        StartFault: NATS does not answer in time, or lets nobody in.
    """
    url, client = nats_url(settings), Bus()
    told = _Told(client)
    try:
        async with asyncio.timeout(settings.connect_timeout_s):
            await client.connect(
                servers=[server.strip() for server in url.split(",")],
                name=name,
                error_cb=told.error,
                disconnected_cb=told.disconnected,
                reconnected_cb=told.connected_again,
                connect_timeout=_CONNECT_S,
                ping_interval=_PING_S,
                max_outstanding_pings=2,
                max_reconnect_attempts=-1,
                reconnect_time_wait=_RECONNECT_S,
                pending_size=_PENDING_BYTES,
            )
    except (OSError, TimeoutError, NatsError, ValueError) as error:
        told.leaving = True
        await client.close()
        cause = _word(told.last or error)
        raise StartFault(f"NATS at {_places(url)} does not answer: {cause}") from error
    try:
        yield client
    finally:
        told.leaving = True
        await client.close()


def open_vault(settings: Settings) -> Vault:
    """Read the keys that seal secrets: HOOKLINE_VAULT_KEYS, or the file in the home.

    Raises:
        StartFault: There are none, or they cannot be used.
    """
    home = Home.at(settings.home)
    try:
        given = settings.vault_keys
        keyring = Keyring.from_text(given.reveal() if given else home.vault_keys.read_text())
    except FileNotFoundError:
        raise StartFault(
            f"no vault keys: set HOOKLINE_VAULT_KEYS or restore {home.vault_keys}"
        ) from None
    except (OSError, KeyringFault) as error:
        raise StartFault(f"vault keys: {error}") from error
    return Vault(keyring.keys, keyring.current)


async def _patiently(settings: Settings, connect: Callable[[str], Awaitable[_T]]) -> _T:
    """Connect to Postgres, and try again while it is only away."""
    url = database_url(settings)
    retrying = AsyncRetrying(
        stop=stop_after_delay(settings.connect_timeout_s),
        wait=wait_exponential(multiplier=0.1, max=2),
        retry=retry_if_exception_type(_AWAY),
        reraise=True,
    )
    try:
        async for attempt in retrying:
            with attempt:
                return await connect(url)
    except (*_AWAY, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise _postgres_fault(url, error) from error
    raise StartFault(f"Postgres at {place(url)} was not tried")  # not reached: the last try raises


def _postgres_fault(url: str, error: Exception) -> StartFault:
    verb = "does not answer" if isinstance(error, _AWAY) else "lets us not in"
    return StartFault(f"Postgres at {place(url)} {verb}: {_word(error)}")


def _places(urls: str) -> str:
    return ",".join(place(url) for url in urls.split(","))


def _word(error: Exception) -> str:
    """Say what an error says, or else what it is."""
    return str(error) or type(error).__name__
