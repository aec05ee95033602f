"""Bodies of requests: read within bounds, taken as JSON, and their fields checked all together.

A `Fields` collects every fault it meets and raises them at once by `check`; until then a faulty
field reads as an empty value. Fields nobody asks for are ignored, as the SDKs expect.
"""

import re
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson
from starlette.requests import Request

from gateway.parts import parts
from gateway.query import read_time
from schema.errors import FieldFault, Invalid, RequestFault, TooLarge
from schema.json_text import read_json

TYPE_FAULT: Final = "value_error.jsondecode"
MAX_DEPTH: Final = 64  # of free-form JSON that is stored as such
_NOT_STORABLE: Final = f"nests deeper than {MAX_DEPTH}, or holds a NUL character"
_LENGTH: Final = b"content-length"
_ABSENT: Final = object()
_CONTROL: Final = re.compile(r"[\x00-\x08]")


async def read_body(request: Request, *, limit_bytes: int | None = None) -> bytes:
    """Read a body whole, giving up as soon as it is larger than the limit.

    Args:
        request: Its body must not have been read yet.
        limit_bytes: By default what the configuration says.

    Raises:
        TooLarge: It is larger.
    """
    limit = parts(request).config.max_body_bytes if limit_bytes is None else limit_bytes
    # By hand: Starlette's headers and stream cost more than reading a small body does.
    for name, value in request.scope["headers"]:
        if name == _LENGTH and value.isdigit() and int(value[:19]) > limit:
            raise TooLarge(limit)
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RequestFault("The body ended early.")
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise TooLarge(limit)
        chunks.append(chunk)
        more = message.get("more_body", False)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def parse(body: bytes) -> object:
    """Take a body as JSON.

    Raises:
        Invalid: It is not JSON, or nests deeper than a parser should follow.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from None


class Published(NamedTuple):
    """A body with payloads, whose bytes are taken as they are.

    Attributes:
        data: What a parser made of it.
        text: What was parsed (see `read_json`), in which payloads are found.
        body: What came, as long as the text, which payloads are cut out of.
    """

    data: object
    text: bytes
    body: bytes


def parse_published(body: bytes) -> Published:
    """Take a body with payloads as JSON.

    Raises:
        Invalid: It is not JSON, or nests deeper than a parser should follow.
    """
    try:
        return Published(*read_json(body), body)
    except orjson.JSONDecodeError as error:
        raise _no_json(error) from None


def _no_json(error: orjson.JSONDecodeError) -> Invalid:
    return Invalid([FieldFault(loc=("body",), msg=str(error), type=TYPE_FAULT)])


async def read_fields(request: Request, *, optional: bool = False) -> "Fields":
    """Read a body as an object with fields.

    Args:
        request: Its body must not have been read yet.
        optional: Take an empty body, or `null`, as an object without fields.
    """
    body = await read_body(request)
    data = {} if optional and body.strip() in {b"", b"null"} else parse(body)
    return Fields(data)


class Fields:
    """The fields of a JSON object, read one by one.

    A field may have older names behind its own: the first name that is there counts. `null` is
    the same as absent wherever a field may be absent; whoever must tell them apart asks `has`.
    """

    def __init__(self, data: object, *where: str) -> None:
        """Read from `data`, which lies at `where` (by default the body itself)."""
        self.faults: list[FieldFault] = []
        self._where = where or ("body",)
        self._data: Mapping[str, Any] = data if isinstance(data, dict) else {}
        if not isinstance(data, dict):
            self._add(self._where, "an object is expected", TYPE_FAULT)

    def has(self, *names: str) -> bool:
        """Tell whether a field was given, be it as null."""
        return any(name in self._data for name in names)

    def raw(self, *names: str) -> object:
        """Give a field as it stands; None when it is absent or null."""
        return self._find(names)[1]

    def require(self, *names: str) -> None:
        """Note a fault unless a field was given and is not null."""
        name, value = self._find(names)
        if value is None:
            self._missing(name)

    def fault(self, name: str, msg: str, *, fault_type: str = "value_error") -> None:
        """Add a fault of a field."""
        self._add((*self._where, name), msg, fault_type)

    def check(self) -> None:
        """Raise what was found.

        Raises:
            Invalid: Something was.
        """
        if self.faults:
            raise Invalid(self.faults)

    def text(
        self,
        *names: str,
        default: str | None = None,
        min_length: int = 0,
        max_length: int | None = None,
        pattern: re.Pattern[str] | None = None,
    ) -> str:
        """Read a text that must be there, unless there is a default."""
        name, value = self._find(names)
        if value is None:
            if default is None:
                self._missing(name)
            return default or ""
        return self._text(name, value, min_length, max_length, pattern)

    def optional_text(
        self,
        *names: str,
        min_length: int = 0,
        max_length: int | None = None,
        pattern: re.Pattern[str] | None = None,
    ) -> str | None:
        """Read a text that may be absent."""
        name, value = self._find(names)
        if value is None:
            return None
        return self._text(name, value, min_length, max_length, pattern)

    def boolean(self, *names: str, default: bool | None = None) -> bool:
        """Read true or false; it must be there, unless there is a default."""
        name, value = self._find(names)
        if isinstance(value, bool):
            return value
        if value is not None:
            self.fault(name, "true or false is expected", fault_type=TYPE_FAULT)
        elif default is None:
            self._missing(name)
        return bool(default)

    def optional_integer(self, *names: str, minimum: int, maximum: int) -> int | None:
        """Read a whole number that may be absent."""
        name, value = self._find(names)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(name, "a whole number is expected", fault_type=TYPE_FAULT)
            return None
        if not minimum <= value <= maximum:
            self.fault(name, f"must be {minimum} to {maximum}")
            return None
        return value

    def optional_number(self, *names: str, minimum: float, maximum: float) -> float | None:
        """Read a number that may be absent."""
        name, value = self._find(names)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fault(name, "a number is expected", fault_type=TYPE_FAULT)
            return None
        if not minimum <= value <= maximum:
            self.fault(name, f"must be {minimum:g} to {maximum:g}")
            return None
        return float(value)

    def optional_choice(self, *names: str, choices: Collection[str]) -> str | None:
        """Read one of some words that may be absent."""
        name, value = self._find(names)
        if value is not None and value not in choices:
            self.fault(name, f"must be {' or '.join(choices)}")
            return None
        return None if value is None else str(value)

    def optional_time(self, *names: str) -> datetime | None:
        """Read an RFC 3339 time that may be absent; without an offset it is UTC."""
        name, value = self._find(names)
        if value is None:
            return None
        try:
            return read_time(name, value if isinstance(value, str) else "")
        except RequestFault:
            self.fault(name, "an RFC 3339 time is expected", fault_type=TYPE_FAULT)
            return None

    def optional_texts(
        self,
        *names: str,
        pattern: re.Pattern[str],
        min_items: int = 1,
        max_items: int | None = None,
    ) -> tuple[str, ...] | None:
        """Read a list of different texts that may be absent; repeated ones count once."""
        name, value = self._find(names)
        if value is None:
            return None
        if not isinstance(value, list):
            self.fault(name, "a list is expected", fault_type=TYPE_FAULT)
            return None
        for position, item in enumerate(value):
            if not isinstance(item, str) or not pattern.match(item):
                at = (*self._where, name, f"[{position}]")
                self._add(at, f"must match {_shown(pattern)}", "value_error")
        if len(value) < min_items:
            self.fault(name, f"at least {min_items} expected")
        if max_items is not None and len(value) > max_items:
            self.fault(name, f"at most {max_items} expected")
        return tuple(dict.fromkeys(item for item in value if isinstance(item, str)))

    def text_map(self, *names: str, max_bytes: int | None = None) -> dict[str, str]:
        """Read an object of texts that may be absent, then it is empty."""
        read = self.optional_text_map(*names)
        values = {key: value for key, value in read.items() if value is not None}
        for key in read.keys() - values.keys():
            self._add((*self._where, names[0], key), "a text is expected", TYPE_FAULT)
        if max_bytes is not None and len(orjson.dumps(values)) > max_bytes:
            self.fault(names[0], f"must be at most {max_bytes} bytes as JSON")
        return values

    def optional_text_map(self, *names: str) -> dict[str, str | None]:
        """Read an object of texts and nulls that may be absent, then it is empty."""
        name, value = self._find(names)
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.fault(name, "an object is expected", fault_type=TYPE_FAULT)
            return {}
        read = {}
        for key, item in value.items():
            if item is None or (isinstance(item, str) and not _CONTROL.search(key + item)):
                read[key] = item
            else:
                self._add((*self._where, name, key), "a text is expected", TYPE_FAULT)
        return read

    def document(self, *names: str) -> dict[str, Any] | None:
        """Read an object of any content, fit to be stored as JSON; it may be absent."""
        name, value = self._find(names)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.fault(name, "an object is expected", fault_type=TYPE_FAULT)
            return None
        if not _storable(value):
            self.fault(name, _NOT_STORABLE)
            return None
        return value

    def everything(self) -> dict[str, Any]:
        """Give all fields as they stand; none, with a fault, if they are not fit to be stored."""
        if _storable(self._data):
            return dict(self._data)
        self._add(self._where, _NOT_STORABLE, "value_error")
        return {}

    def _find(self, names: tuple[str, ...]) -> tuple[str, object]:
        for name in names:
            value = self._data.get(name, _ABSENT)
            if value is not _ABSENT:
                return name, value
        return names[0], None

    def _text(
        self,
        name: str,
        value: object,
        min_length: int,
        max_length: int | None,
        pattern: re.Pattern[str] | None,
    ) -> str:
        if not isinstance(value, str):
            self.fault(name, "a text is expected", fault_type=TYPE_FAULT)
            return ""
        if len(value) < min_length:
            self.fault(name, f"must have at least {min_length} character(s)")
        elif max_length is not None and len(value) > max_length:
            self.fault(name, f"must have at most {max_length} characters")
        elif pattern is not None and not pattern.match(value):
            self.fault(name, f"must match {_shown(pattern)}")
        elif _CONTROL.search(value):
            self.fault(name, "must not hold control characters")
        return value

    def _missing(self, name: str) -> None:
        self.fault(name, "is required", fault_type="value_error.missing")

    def _add(self, loc: tuple[str, ...], msg: str, fault_type: str) -> None:
        self.faults.append(FieldFault(loc=loc, msg=msg, type=fault_type))


def _shown(pattern: re.Pattern[str]) -> str:
    return f"^{pattern.pattern.removesuffix(chr(92) + 'Z')}$"


def _storable(value: object) -> bool:
    """Tell whether Postgres and every JSON writer can take a value. Goes without recursion."""
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        if not level:
            return True
        texts = [item for item in level if isinstance(item, str)]
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                texts.extend(item)
                below.extend(item.values())
            elif isinstance(item, list):
                below.extend(item)
        if any("\0" in text for text in texts):
            return False
        level = below
    return not level
