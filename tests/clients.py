"""HTTP clients for tests, of any number.

Left alone, each client of httpx reads the certificates of all authorities there are, which takes
longer than most tests. These speak plain HTTP, and share a context that trusts nobody.
"""

import ssl
from typing import Any

import httpx
from svix.api import SvixAsync, SvixOptions

_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def plain_client(**options: Any) -> httpx.AsyncClient:
    """Give a client of httpx; its options are httpx's."""
    return httpx.AsyncClient(verify=_TRUSTS_NOBODY, **options)


class Svix(SvixAsync):
    """The official client, which does not try again."""

    def __init__(self, url: str, key: str) -> None:
        options = SvixOptions(server_url=url, retry_schedule=[])
        super(SvixAsync, self).__init__(key, options)
        self._httpx_client = plain_client(cookies=self._client.get_cookies())

    async def aclose(self) -> None:
        await self._httpx_client.aclose()
