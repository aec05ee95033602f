"""Apps by id or uid, remembered: every request of a tenant begins with this look-up."""

from gateway.cache import Cache
from gateway.config import GatewayConfig
from schema.app import App
from schema.errors import NotFound
from schema.event import UID_PATTERN
from schema.store import app as store
from schema.store.link import Pool
from schema.store.pool import reachable

KIND = "Application"


class AppBook:
    """The apps that were asked for of late. A change of one is heard of by its id."""

    def __init__(self, pool: Pool, config: GatewayConfig) -> None:
        """Start empty."""
        self._pool = pool
        self._acquire_s = config.acquire_s
        self.cache: Cache[tuple[str, str], App] = Cache(
            size=config.cached_apps,
            lifetime_s=config.key_cache_s,
            deaf_lifetime_s=config.deaf_cache_s,
        )

    async def find(self, environment_id: str, ref: str) -> App:
        """Find an app of an environment by its id or uid.

        Raises:
            NotFound: The environment has none such.
        """
        known = self.cache.get((environment_id, ref))
        if known is not None:
            return known
        if not UID_PATTERN.match(ref):
            raise NotFound(KIND)
        mark = self.cache.mark()
        async with reachable(), self._pool.acquire(timeout=self._acquire_s) as connection:
            app = await store.find(connection, environment_id, ref)
        if app is None:
            raise NotFound(KIND)
        self.cache.put((environment_id, ref), app, group=app.id, mark=mark)
        return app
