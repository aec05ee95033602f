"""The query of a request, read parameter by parameter.

What cannot be read at all (a word for a number) is answered 400 at once; what can be read but is
not allowed (a limit of a thousand) is collected and answered 422, as Svix does.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request

from schema.errors import FieldFault, Invalid, RequestFault

_TIME: Final = re.compile(
    r"(?P<moment>\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)"
    r"(?P<zone>[Zz]|[-+ ]\d\d:\d\d)?\Z",
    re.ASCII,
)
_WHOLE: Final = re.compile(r"-?\d{1,18}\Z", re.ASCII)
_INDEXED: Final = re.compile(r"(.+)\[\d*\]\Z", re.ASCII)


class Query:
    """Reads parameters and collects what is wrong with them."""

    def __init__(self, request: Request) -> None:
        """Read from a request."""
        self.faults: list[FieldFault] = []
        self._pairs = request.query_params.multi_items() if request.scope["query_string"] else []
        if any("\0" in value for _, value in self._pairs):
            raise RequestFault("The query holds a NUL character.")

    def check(self) -> None:
        """Raise what was found.

        Raises:
            Invalid: Something was.
        """
        if self.faults:
            raise Invalid(self.faults)

    def fault(self, name: str, msg: str) -> None:
        """Add a fault of a parameter."""
        self.faults.append(FieldFault(loc=("query", name), msg=msg))

    def names(self) -> set[str]:
        """Give the names of the parameters, those of lists without what stands behind."""
        return {_name(key) for key, _ in self._pairs}

    def empty(self) -> set[str]:
        """Give the names of the parameters that say nothing, which are read as absent."""
        said = {_name(key) for key, value in self._pairs if value.strip(", ")}
        return self.names() - said

    def text(self, name: str, *, pattern: re.Pattern[str] | None = None) -> str | None:
        """Read a text; an empty one is absent."""
        found = next((value for key, value in self._pairs if key == name), "")
        if found and pattern is not None and not pattern.match(found):
            self.fault(name, "is not of the expected form")
        return found or None

    def integer(self, name: str, *, minimum: int, maximum: int) -> int | None:
        """Read a whole number.

        Raises:
            RequestFault: It is none.
        """
        found = self.text(name)
        if found is None:
            return None
        if not _WHOLE.match(found):
            raise _unreadable(name, "a whole number")
        value = int(found)
        if not minimum <= value <= maximum:
            self.fault(name, f"must be {minimum} to {maximum}")
        return value

    def boolean(self, name: str, *, default: bool) -> bool:
        """Read true or false.

        Raises:
            RequestFault: It is neither.
        """
        found = self.text(name)
        if found is None:
            return default
        if found not in {"true", "false"}:
            raise _unreadable(name, "true or false")
        return found == "true"

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Read one of some words.

        Raises:
            RequestFault: It is none of them.
        """
        found = self.text(name)
        if found is not None and found not in choices:
            raise _unreadable(name, " or ".join(choices))
        return found

    def time(self, name: str) -> datetime | None:
        """Read an RFC 3339 time; without an offset it is UTC.

        Raises:
            RequestFault: It is none.
        """
        found = self.text(name)
        return None if found is None else read_time(name, found)

    def texts(self, name: str, *, pattern: re.Pattern[str] | None = None) -> tuple[str, ...] | None:
        """Read a list: `n=a,b`, `n=a&n=b`, `n[]=a&n[]=b` or `n[0]=a&n[1]=b`; empty is absent."""
        found = tuple(dict.fromkeys(self._items(name)))
        if pattern is not None and not all(pattern.match(item) for item in found):
            self.fault(name, "is not of the expected form")
        return found or None

    def _items(self, name: str) -> Iterator[str]:
        for key, value in self._pairs:
            if _name(key) == name:
                yield from (item for item in value.split(",") if item)


def _name(key: str) -> str:
    """Give the name of a parameter; of a list's, without what stands behind."""
    indexed = _INDEXED.match(key)
    return indexed.group(1) if indexed else key


def read_time(name: str, text: str) -> datetime:
    """Read an RFC 3339 time; a blank may stand for the T, or for the plus that a URL lost.

    Seconds may be left out: the Java SDK does so in a query when they are none.

    Raises:
        RequestFault: It is none.
    """
    parsed = _TIME.match(text)
    if parsed is None:
        raise _unreadable(name, "an RFC 3339 time")
    zone = (parsed["zone"] or "Z").replace(" ", "+").upper()
    try:
        return datetime.fromisoformat(parsed["moment"].upper() + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _unreadable(name, "an RFC 3339 time") from None


def _unreadable(name: str, expected: str) -> RequestFault:
    return RequestFault(f"The query parameter {name} must be {expected}.")
