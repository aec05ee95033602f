"""Keys and environments, remembered, and when each key was last used.

A key is looked up by the hash of its text; the text itself is kept nowhere. Svix's tokens are keys
that are not stored: they are checked once and then remembered like the others.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from gateway.cache import Cache
from gateway.config import GatewayConfig
from gateway.svix_token import TokenRules, is_token, read_token, refuse
from schema import ids
from schema.api_key import ApiKey, hash_of, well_formed
from schema.app import Environment
from schema.audit import AuditEntry
from schema.errors import HooklineError, Unauthenticated
from schema.store import api_key as store
from schema.store import audit, revoked_token
from schema.store import environment as environments
from schema.store.link import Link, Pool
from schema.store.pool import reachable

USE_NOTED_EVERY: Final = timedelta(minutes=1)
_WRITE_EVERY_S: Final = 5.0
_LAST_WRITE_S: Final = 1.0
_log = logging.getLogger(__name__)


class KeyRing:
    """The keys that were shown of late. A change of one is heard of by its app or environment."""

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
        self._rules = config.tokens
        self._noted: dict[str, datetime] = {}
        self._unwritten: dict[str, datetime] = {}
        lifetimes = {"lifetime_s": config.key_cache_s, "deaf_lifetime_s": config.deaf_cache_s}
        self.keys: Cache[bytes, ApiKey] = Cache(size=config.cached_keys, **lifetimes)
        self.environments: Cache[str, Environment] = Cache(size=config.cached_keys, **lifetimes)

    async def find(self, text: str) -> ApiKey:
        """Find a key that counts now: neither revoked nor expired, of a living environment.

        Raises:
            Unauthenticated: There is none such.
            BadState: It is a token of Svix's that stands for nobody.
        """
        digest = hash_of(text)
        key = self.keys.get(digest)
        now = self._clock()
        if key is None:
            mark = self.keys.mark()
            key = await self._look_up(text, digest, now)
            self.keys.put(digest, key, group=key.app_id or key.environment_id, mark=mark)
        if not _counts(key, now):
            raise Unauthenticated
        self._note(key, now)
        return key

    async def _look_up(self, text: str, digest: bytes, now: datetime) -> ApiKey:
        key = None
        if well_formed(text):
            async with reachable(), self._pool.acquire(timeout=self._acquire_s) as link:
                key = await store.find(link, digest)
        elif self._rules is not None and is_token(text):
            return await self._look_up_token(self._rules, text, now)
        if key is None:
            raise refuse(self._rules, text)
        return key

    async def _look_up_token(self, rules: TokenRules, text: str, now: datetime) -> ApiKey:
        """Check a token; an operator's makes its environment, as Svix asks for none to be made."""
        token = read_token(rules, text, now)
        key = token.key
        async with reachable(), self._pool.acquire(timeout=self._acquire_s) as link:
            found = await environments.find(link, key.environment_id)
            if found is None and (key.app_id is not None or not await _make(link, key, now)):
                raise Unauthenticated("There is no such environment.")
            if key.app_id is None:
                return key
            ends_at = await revoked_token.ends_at(link, key.app_id, key.id, token.issued_at)
        return replace(key, revoked_at=ends_at)

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

    def drop(self, owner_id: str) -> None:
        """Forget the keys of an app, or those of an environment that are no app's."""
        self.keys.drop(owner_id)

    def drop_environment(self, environment_id: str) -> None:
        """Forget an environment, and all keys: those of its apps fall with it."""
        self.environments.drop(environment_id)
        self.keys.clear()

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
        if key.id.startswith(ids.TOKEN):  # it has no row
            return
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


async def _make(link: Link, key: ApiKey, now: datetime) -> bool:
    """Make the environment that an operator's token names, unless it was deleted."""
    ident = key.environment_id
    async with link.transaction():
        if not await environments.ensure(link, ident, name=ident, kind="production", at=now):
            return await environments.find(link, ident) is not None  # made at the same time
        entry = AuditEntry(
            environment_id=ident,
            id=ids.new_id(ids.AUDIT, now),
            key_id=key.id,
            action="environment.create",
            object=ident,
            detail={},
            at=now,
        )
        await audit.add(link, entry)
    _log.info("environment %s made: a token names it", ident)
    return True
