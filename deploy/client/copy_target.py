"""Brings what is wanted into Hookline: makes it, changes it, or finds it there already.

With `dry_run` it only says what it would do.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final

from deploy.client.api import Api, Refused, path_of

_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
Thing = Mapping[str, Any]


class Deed(StrEnum):
    """What was done, or would be."""

    MADE = "made"
    CHANGED = "changed"
    SAME = "same"
    FAILED = "failed"


class Target:
    """Hookline, to be written. Threads may share it."""

    def __init__(self, api: Api, *, dry_run: bool) -> None:
        """Take the API to write to."""
        self.api, self.dry_run = api, dry_run

    def put(self, above: str, wanted: Thing, present: Thing | None) -> tuple[Deed, Thing | None]:
        """Make something that goes by its uid, or bring it up to date.

        Returns:
            What was done, and the thing as it is then, if it is there.
        """
        here = f"{above}{path_of(wanted['uid'])}"
        if present is not None:
            return self.replace(here, wanted, present)
        if self.dry_run:
            return Deed.MADE, None
        try:
            return Deed.MADE, self.api.call("POST", above, wanted, repeatable=True)
        except Refused as refused:
            if refused.status != _CONFLICT:
                raise
        return Deed.CHANGED, self.known(here)  # it was made, and the answer got lost

    def replace(self, here: str, wanted: Thing, present: Thing | None) -> tuple[Deed, Thing | None]:
        """Bring something up to date that its path names."""
        if present is not None and _same(wanted, present):
            return Deed.SAME, present
        if self.dry_run:
            return (Deed.MADE if present is None else Deed.CHANGED), present
        after: Thing = self.api.call("PUT", here, wanted, repeatable=True)
        if present is None:
            return Deed.MADE, after
        # What is only spelled otherwise here, as a URL may be, was the same before.
        was_same = _same({key: after.get(key) for key in wanted}, present)
        return Deed.SAME if was_same else Deed.CHANGED, after

    def write(self, method: str, here: str, body: object) -> None:
        """Write what was found to differ."""
        if not self.dry_run:
            self.api.call(method, here, body, repeatable=True)

    def known(self, here: str) -> Thing | None:
        """Give what a path names; None if there is nothing."""
        try:
            found: Thing = self.api.get(here)
        except Refused as refused:
            if refused.status != _NOT_FOUND:
                raise
            return None
        return found


def _same(wanted: Thing, present: Thing) -> bool:
    """Tell whether something is as it is wanted; lists of names have no order."""
    return all(_plain(value) == _plain(present.get(key)) for key, value in wanted.items())


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, list) else value
