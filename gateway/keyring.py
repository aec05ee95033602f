"""Keys and environments, remembered, and when each key was last used.

A key is looked up by the hash of its text; the text itself is kept nowhere.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from gateway.cache import Cache
from gateway.config import GatewayConfig
from schema.api_key import ApiKey, hash_of, well_formed
from schema.app import Environment
from schema.errors import HooklineError
from schema.store import api_key as store
from schema.store import environment as environments
from schema.store.link import Pool
from schema.store.pool import reachable

USE_NOTED_EVERY: Final = timedelta(minutes=1)
_WRITE_EVERY_S: Final = 5.0
_LAST_WRITE_S: Final = 1.0
_log = logging.getLogger(__name__)


class KeyRing:
    """The keys that were shown of late. A change of one is heard of by its environment."""

    def __init__(
        self,
        pool: Pool,
        config: GatewayConfig,
        clock: Callable[[], datetime],
    ) -> None:
        """Start empty."""
        self._pool = pool
        self._acquire_s = config.acquire_s
        self._clock = clock
        self._noted: dict[str, datetime] = {}
        self._unwritten: dict[str, datetime] = {}
        lifetimes = {"lifetime_s": config.key_cache_s, "deaf_lifetime_s": config.deaf_cache_s}
        self.keys: Cache[bytes, ApiKey] = Cache(size=config.cached_keys, **lifetimes)
        self.environments: Cache[str, Environment] = Cache(size=config.cached_keys, **lifetimes)

    async def find(self, text: str) -> ApiKey | None:
        """Find a key that counts now: neither revoked nor expired, of a living environment."""
        digest = hash_of(text)
        key = self.keys.get(digest)
        if key is None:
            if not well_formed(text):
                return None
            mark = self.keys.mark()
            async with reachable(), self._pool.acquire(timeout=self._acquire_s) as connection:
                key = await store.find(connection, digest)
            if key is None:
                return None
            self.keys.put(digest, key, group=key.environment_id, mark=mark)
        now = self._clock()
        if not _counts(key, now):
            return None
        self._note(key, now)
        return key

    async def environment(self, environment_id: str) -> Environment | None:
        """Find a living environment."""
        known = self.environments.get(environment_id)
        if known is not None:
            return known
        mark = self.environments.mark()
        async with reachable(), self._pool.acquire(timeout=self._acquire_s) as connection:
            found = await environments.find(connection, environment_id)
        if found is not None:
            self.environments.put(environment_id, found, group=environment_id, mark=mark)
        return found

    def drop(self, environment_id: str) -> None:
        """Forget the keys of an environment."""
        self.keys.drop(environment_id)

    def drop_environment(self, environment_id: str) -> None:
        """Forget an environment, and its keys, which fall with it."""
        self.environments.drop(environment_id)
        self.keys.drop(environment_id)

    async def run(self) -> None:
        """Write down from time to time which keys were used, until cancelled."""
        try:
            while True:
                await asyncio.sleep(_WRITE_EVERY_S)
                await self.write()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WRITE_S):
                    await self.write()

    def _note(self, key: ApiKey, now: datetime) -> None:
        last = self._noted.get(key.id, key.last_used_at)
        if last is None or now - last >= USE_NOTED_EVERY:
            self._noted[key.id] = self._unwritten[key.id] = now

    async def write(self) -> None:
        """Write down which keys were used since the last time."""
        used, self._unwritten = self._unwritten, {}
        if not used:
            return
        now = self._clock()
        self._noted = {key: at for key, at in self._noted.items() if now - at < USE_NOTED_EVERY}
        try:
            async with reachable(), self._pool.acquire(timeout=self._acquire_s) as connection:
                await store.touch(connection, used)
        except (HooklineError, asyncpg.PostgresError) as error:
            _log.warning("the use of %d keys was not written down: %s", len(used), error)


def _counts(key: ApiKey, now: datetime) -> bool:
    expired = key.expires_at is not None and key.expires_at <= now
    revoked = key.revoked_at is not None and key.revoked_at <= now
    return not expired and not revoked
