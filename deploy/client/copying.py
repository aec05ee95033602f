"""Copies what a Svix server has into Hookline, one thing at a time, and says what became of each.

What is there already and the same is left alone, so a copy that was broken off goes on where it
was, and one that was made is brought up to date. Nothing is deleted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from deploy.client import svix
from deploy.client.api import Api, Refused, path_of
from deploy.client.copy_endpoint import CannotSign, EndpointCopy
from deploy.client.copy_target import Deed, Target, Thing

_THINGS_FAULT: Final = frozenset({400, 404, 409, 413, 422})  # of this thing, and not of all
_EVENT_TYPES: Final = path_of("event-type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing of Svix's, and what became of it.

    Attributes:
        kind: event type, app or endpoint.
        name: What a person knows it by.
        svix_id: Its id there; an event type has none.
        hookline_id: Its id here, once it is made.
        lost: What could not be kept, a line each.
        fault: Why it failed.
    """

    kind: str
    name: str
    deed: Deed
    svix_id: str | None = None
    hookline_id: str | None = None
    lost: tuple[str, ...] = ()
    fault: str = ""

    def to_json(self) -> dict[str, object]:
        """Give what a program reads."""
        return {
            "kind": self.kind,
            "name": self.name,
            "deed": self.deed,
            "svixId": self.svix_id,
            "hooklineId": self.hookline_id,
            "lost": self.lost,
            "fault": self.fault or None,
        }


class Copying:
    """From one API to another. Threads may share it."""

    def __init__(self, source: Api, target: Target) -> None:
        """Take Svix's API, and Hookline."""
        self._source, self._target = source, target
        self._archived: set[str] = set()  # event types, in Svix

    def apps(self, refs: tuple[str, ...]) -> list[svix.Thing]:
        """Give Svix's apps: those named by ids or uids, or all."""
        if refs:
            return [self._source.get(path_of("app", ref)) for ref in refs]
        return [app for page in self._source.pages(path_of("app")) for app in page]

    def event_types(self) -> Iterator[Entry]:
        """Copy the event types. None is archived yet: endpoints may name them."""
        query = {"include_archived": "true", "with_content": "true"}
        pages = self._target.api.pages(_EVENT_TYPES, query)
        there = {one["name"]: one for page in pages for one in page}
        for page in self._source.pages(_EVENT_TYPES, query):
            for one in page:
                yield self._event_type(one, there.get(one["name"]))

    def archive(self) -> Iterator[Entry]:
        """Archive what is archived there, once all endpoints are made; gives what fails."""
        for name in sorted(self._archived):
            yield from self._archive(name)

    def app(self, thing: svix.Thing) -> Iterator[Entry]:
        """Copy an app with its endpoints."""
        wanted = svix.app(thing)
        uid: str = wanted["uid"]
        try:
            present = self._target.known(path_of("app", uid))
            deed, app = self._target.put(path_of("app"), wanted, present)
        except Refused as refused:
            yield _failed("app", uid, thing["id"], refused)
            return
        yield Entry(kind="app", name=uid, deed=deed, svix_id=thing["id"], hookline_id=_id(app))
        there = self._endpoints_there(uid) if app else {}
        path = path_of("app", thing["id"], "endpoint")
        for page in self._source.pages(path, {"order": "ascending"}):
            for one in page:
                yield self._endpoint(thing, uid, one, there.get(svix.uid_of(one)))

    def _event_type(self, thing: svix.Thing, present: Thing | None) -> Entry:
        name, wanted = str(thing["name"]), svix.event_type(thing)
        if wanted["archived"]:
            self._archived.add(name)
            wanted["archived"] = present is not None and present["archived"]
        try:
            deed, _ = self._target.replace(f"{_EVENT_TYPES}{path_of(name)}", wanted, present)
        except Refused as refused:
            return _failed("event type", name, None, refused)
        return Entry(kind="event type", name=name, deed=deed)

    def _archive(self, name: str) -> Iterator[Entry]:
        here = f"{_EVENT_TYPES}{path_of(name)}"
        try:
            present = self._target.known(here)
            if present is not None and not present["archived"]:
                self._target.write("PATCH", here, {"archived": True})
        except Refused as refused:
            yield _failed("event type", name, None, refused)

    def _endpoints_there(self, app_uid: str) -> dict[str, Thing]:
        pages = self._target.api.pages(path_of("app", app_uid, "endpoint"))
        return {one["uid"]: one for page in pages for one in page if one["uid"]}

    def _endpoint(
        self,
        app: svix.Thing,
        app_uid: str,
        thing: svix.Thing,
        present: Thing | None,
        *,
        again: bool = False,
    ) -> Entry:
        try:
            return self._copied(app, app_uid, thing, present)
        except Refused as refused:
            if again or not self._revived(thing):
                return _failed("endpoint", _name(app_uid, thing), thing["id"], refused)
        except CannotSign as fault:
            return _failed("endpoint", _name(app_uid, thing), thing["id"], fault)
        return self._endpoint(app, app_uid, thing, present, again=True)

    def _copied(
        self, app: svix.Thing, app_uid: str, thing: svix.Thing, present: Thing | None
    ) -> Entry:
        copy = EndpointCopy(self._source, self._target, app_id=app["id"], app_uid=app_uid)
        deed, made = copy.copy(thing, present)
        return Entry(
            kind="endpoint",
            name=_name(app_uid, thing),
            deed=deed,
            svix_id=thing["id"],
            hookline_id=_id(made),
            lost=tuple(copy.lost),
        )

    def _revived(self, thing: svix.Thing) -> bool:
        """Bring event types back that an endpoint names, until all are archived at the end."""
        named = self._archived.intersection(svix.endpoint(thing)["eventTypes"] or ())
        for name in named:
            self._target.write("PATCH", f"{_EVENT_TYPES}{path_of(name)}", {"archived": False})
        return bool(named)


def _name(app_uid: str, thing: svix.Thing) -> str:
    return f"{app_uid}/{svix.uid_of(thing)}"


def _id(made: Thing | None) -> str | None:
    return None if made is None else str(made["id"])


def _failed(kind: str, name: str, svix_id: str | None, fault: Refused | CannotSign) -> Entry:
    """Say that one thing failed.

    Raises:
        Refused: The next would fail as well.
    """
    if isinstance(fault, Refused) and fault.status not in _THINGS_FAULT:
        raise fault
    said = "; ".join(str(fault).splitlines())
    return Entry(kind=kind, name=name, deed=Deed.FAILED, svix_id=svix_id, fault=said)
