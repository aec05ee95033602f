"""(d) Receivers behind TLS: with connections that are kept, and with a new one for each request.

The receiver's certificate is of an authority of the run's own. Dispatchers trust it by
SSL_CERT_FILE, as an operator would have them trust one; so do the bare loops.
"""

from collections.abc import AsyncGenerator

from tests.load.certificates import write_certificates
from tests.load.delivering import at_once, figures
from tests.load.payload import Kind
from tests.load.rows.bare import paces
from tests.load.site import Run, Site, opened
from tests.load.table import Figure


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Measure both, each beside stock httpx over the same TLS."""
    authority, certificate = write_certificates(run.directory)
    async with opened(run, authority=authority, certificate=certificate) as site:
        await site.here.start_and_own(1)
        for kind, name, number in (
            (Kind.KEEP, "kept", run.scale.events),
            (Kind.CLOSE, "new each", run.scale.fresh_connections),
        ):
            for figure in await _one(site, kind, name, number):
                yield figure


async def _one(site: Site, kind: Kind, name: str, number: int) -> list[Figure]:
    url, requests = site.receiver.url(kind), site.run.scale.stock_requests
    stock, _ = await paces(site.receiver, site.load, url, stock=requests, ours=requests)
    app_id = await site.here.with_endpoint(url)
    done = await at_once(site, [app_id], number)
    return figures(name, done, stock, parts=("receiver",))
