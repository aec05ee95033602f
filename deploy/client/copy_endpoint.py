"""Copies one endpoint of Svix's: what it is, the secret that signs, its headers, its code.

Header values that Svix hides are told as lost, unless somebody has set them in Hookline; those are
left as they are.
"""

from collections.abc import Mapping
from typing import Any, Final

from deploy.client import svix
from deploy.client.api import Api, Refused, path_of
from deploy.client.copy_target import Deed, Target, Thing

_NOT_LOOKED_AT: Final = frozenset({400, 403, 404, 405, 501})  # a server without transformations
_INVALID: Final = 422
_CODE: Final = ("code", "enabled", "variables")


class CannotSign(Exception):
    """Svix shows only the key that verifies, not the one that signs."""

    def __str__(self) -> str:
        return (
            "it signs with a private key, which Svix does not show: make it in Hookline, and give"
            " its receiver the new public key"
        )


class EndpointCopy:
    """One endpoint on its way."""

    def __init__(self, source: Api, target: Target, *, app_id: str, app_uid: str) -> None:
        """Take both servers, and the app: its id in Svix, its uid in Hookline."""
        self._source, self._target = source, target
        self._above, self._app_id = path_of("app", app_uid, "endpoint"), app_id
        self._changed = False
        self.lost: list[str] = []

    def copy(self, thing: svix.Thing, present: Thing | None) -> tuple[Deed, Thing | None]:
        """Make it, or bring it up to date; what cannot be kept is in `lost`.

        Raises:
            CannotSign: Its secret is not shown.
            Refused: One of the servers refuses.
        """
        there = path_of("app", self._app_id, "endpoint", thing["id"])
        secret, headers = self._secret(there), self._source.get(f"{there}/headers")
        code = self._transformation(there)
        wanted = svix.endpoint(thing)
        here = f"{self._above}{path_of(wanted['uid'])}"
        if present is None:
            new = {**wanted, "secret": secret, "headers": headers["headers"]}
            deed, present = self._target.put(self._above, new, None)
            if deed is Deed.MADE or present is None:
                self._tell_hidden(headers, ())
                if code:
                    self._set_transformation(here, code)
                return deed, present
        deed, after = self._target.replace(here, wanted, present)
        self._changed = deed is Deed.CHANGED
        self._keep_secret(here, secret)
        self._keep_headers(here, headers)
        self._keep_transformation(here, code)
        return Deed.CHANGED if self._changed else Deed.SAME, after

    def _secret(self, there: str) -> str:
        secret = str(self._source.get(f"{there}/secret")["key"])
        if svix.is_public(secret):
            raise CannotSign
        return secret

    def _transformation(self, there: str) -> Mapping[str, Any]:
        """Give what is to be set of the endpoint's code; nothing if it has none."""
        try:
            found = self._source.get(f"{there}/transformation") or {}
        except Refused as refused:
            if refused.status not in _NOT_LOOKED_AT:
                raise
            return {}
        if not found.get("code"):
            return {}
        return {name: found[name] for name in _CODE if found.get(name) is not None}

    def _keep_secret(self, here: str, secret: str) -> None:
        if self._target.api.get(f"{here}/secret")["key"] != secret:
            self._changed = True
            self._target.write("POST", f"{here}/secret/rotate", {"key": secret})

    def _keep_headers(self, here: str, headers: Mapping[str, Any]) -> None:
        present, wanted = self._target.api.get(f"{here}/headers"), headers["headers"]
        self._tell_hidden(headers, present["sensitive"])
        if present["headers"] != wanted:
            self._changed = True
            gone = [name for name in present["headers"] if name not in wanted]
            body = {"headers": wanted, "deleteHeaders": gone}
            self._target.write("PATCH", f"{here}/headers", body)

    def _keep_transformation(self, here: str, wanted: Mapping[str, Any]) -> None:
        if not wanted:
            return
        present = self._target.api.get(f"{here}/transformation")
        if any(present.get(name) != value for name, value in wanted.items()):
            self._changed = True
            self._set_transformation(here, wanted)

    def _set_transformation(self, here: str, wanted: Mapping[str, Any]) -> None:
        try:
            self._target.write("PATCH", f"{here}/transformation", wanted)
        except Refused as refused:
            if refused.status != _INVALID:
                raise
            self.lost.append(f"its transformation: {refused}")

    def _tell_hidden(self, headers: Mapping[str, Any], set_by_hand: list[str] | tuple[()]) -> None:
        known = {name.lower() for name in set_by_hand}
        self.lost += [
            f"header {name}: Svix hides its value; set it by hand"
            for name in headers["sensitive"]
            if name.lower() not in known
        ]
