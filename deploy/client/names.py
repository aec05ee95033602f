"""What people call apps and endpoints, looked up for the few that are shown."""

from typing import Final

from deploy.client.api import Api, Refused, path_of
from deploy.client.words import plain

MOST: Final = 20  # requests; what comes after goes by its id
_NOT_FOUND: Final = frozenset({403, 404})


class Names:
    """Remembers what it looked up."""

    def __init__(self, api: Api) -> None:
        """Take the API to ask."""
        self._api = api
        self._known: dict[str, str] = {}

    def app(self, app_id: str) -> str:
        """Give the uid of an app, or its id."""
        return self._look(path_of("app", app_id), app_id, "uid")

    def endpoint(self, app_id: str, endpoint_id: str) -> str:
        """Give the URL of an endpoint, or its id."""
        return self._look(path_of("app", app_id, "endpoint", endpoint_id), endpoint_id, "url")

    def _look(self, path: str, ident: str, field: str) -> str:
        if ident not in self._known and len(self._known) < 2 * MOST:
            try:
                said = self._api.get(path)
            except Refused as refused:
                if refused.status not in _NOT_FOUND:
                    raise
                said = {}
            self._known[ident] = plain(said.get(field) or ident)
        return self._known.get(ident, ident)
