"""What a gateway does when configuration changes: its caches drop what they hold of it.

While nothing is heard the caches know that they are deaf and believe themselves for less long.
"""

from gateway.appbook import AppBook
from gateway.catalogue import Catalogue
from gateway.keyring import KeyRing
from schema.store.changes import Changes
from schema.store.link import Pool


class Listener:
    """Drops from the caches what Postgres says has changed."""

    def __init__(self, pool: Pool, *, keys: KeyRing, apps: AppBook, catalogue: Catalogue) -> None:
        """Serve these caches; they stay deaf until `run`."""
        self._keys = keys
        self._apps = apps
        self._catalogue = catalogue
        self._caches = (keys.keys, keys.environments, apps.cache, catalogue.cache)
        self._changes = Changes(pool, on_change=self.heard, on_break=self._start_anew)

    async def run(self) -> None:
        """Listen until cancelled."""
        await self._changes.run()

    async def sync(self) -> None:
        """Return once all that was committed before this call has been heard of."""
        await self._changes.sync()

    def heard(self, table: str, tenant: str) -> None:
        """Take in one notification; the gateway keeps nothing of the other tables."""
        match table:
            case "app":
                self._apps.cache.drop(tenant)
            case "api_key" | "revoked_token":
                self._keys.drop(tenant)
            case "environment":
                self._keys.drop_environment(tenant)
            case "event_type":
                self._catalogue.cache.drop(tenant)
            case _:
                pass

    def _start_anew(self) -> None:
        for cache in self._caches:
            cache.clear()
            cache.hears = self._changes.hears
