"""Payloads held to the JSON Schema of their event type. Pure.

Whoever writes a payload may mean harm, so what a look costs is bounded by the schema alone:
patterns are matched in linear time (no look-around, no back-references), nothing is fetched, and a
schema that refers to itself, or unfolds to more than `MOST_PARTS` parts, is not taken. What is left
grows with the payload, which has a limit of its own.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import jsonschema_rs
import orjson

from schema.event_type import SchemaMode
from schema.json_text import read_json

MOST_BYTES: Final = 65_536  # of a schema, as JSON
MOST_PARTS: Final = 10_000  # objects of it, with what a `$ref` names in the place of the `$ref`
_PATTERN_PARTS: Final = 100  # for which one of `patternProperties` counts: each meets each name
_DEEPEST: Final = 100
_PATTERNS: Final = jsonschema_rs.RegexOptions(size_limit=262_144, dfa_size_limit=1_048_576)
_DRAFT_7: Final = jsonschema_rs.Draft7Validator(
    {"$ref": "http://json-schema.org/draft-07/schema#"}, validate_formats=False, offline=True
)
_MOST_TEXT: Final = 300
_MASK: Final = "it"  # in the place of values: what goes wrong is told, what was sent is not
# What would make a `$ref` mean something else; the schema as a whole may have an `$id`.
_ELSEWHERE: Final = ("$id", "$dynamicRef", "$recursiveRef")
_LISTED: Final = ", ".join(_ELSEWHERE)
_REGEX_HINT: Final = "; patterns have no look-around and no back-references here, and are not long"


UNABLE: Final = "unable"  # in the place of a rule
_UNABLE_SAID: Final = "it cannot be held to the schema, perhaps because it nests too deep"
_log = logging.getLogger(__name__)


class SchemaFault(ValueError):
    """A schema that payloads cannot be held to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadFault:
    """The first thing that is wrong with a payload.

    Attributes:
        path: Where, from the payload's root.
        rule: The keyword of the schema that says so, or `UNABLE`.
        detail: In words, without the value.
    """

    path: tuple[str | int, ...]
    rule: str
    detail: str

    @property
    def pointer(self) -> str:
        """Where it is, as a JSON pointer (RFC 6901); "" is the whole payload."""
        return _pointer(self.path)

    @property
    def place(self) -> str:
        """Where faults of this kind are, with `*` for places in lists."""
        return _pointer([part if isinstance(part, str) else "*" for part in self.path])

    def __str__(self) -> str:
        return f"{self.pointer or 'the payload'}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What payloads of an event type are held to.

    Attributes:
        version: Of the schema.
        schema: As JSON.
    """

    mode: SchemaMode
    version: str
    schema: str

    def fault(self, payload: bytes) -> PayloadFault | None:
        """Say what is wrong with a payload; one that was published raw may be no JSON."""
        try:
            read, _ = read_json(payload)
        except orjson.JSONDecodeError:
            return PayloadFault(path=(), rule=UNABLE, detail="is no JSON")
        return fault_of(compiled(self.schema), read)


def schema_faults(schema: object) -> str | None:
    """Say why something is no JSON Schema (draft 7), or None."""
    error = next(_DRAFT_7.iter_errors(schema), None)
    return None if error is None else error.message[:_MOST_TEXT]


@lru_cache(maxsize=1024)
def compiled(schema: str) -> jsonschema_rs.Validator:
    """Make ready what payloads are held to.

    Raises:
        SchemaFault: It cannot be, and why.
    """
    if len(schema.encode()) > MOST_BYTES:
        msg = f"a schema that payloads are held to may have {MOST_BYTES} bytes"
        raise SchemaFault(msg)
    read = orjson.loads(schema)
    if not isinstance(read, dict | bool):
        msg = "an object is expected"
        raise SchemaFault(msg)
    _Unfolded(read).check()
    named = isinstance(read, dict) and "$schema" in read
    try:
        make = jsonschema_rs.validator_for if named else jsonschema_rs.Draft7Validator
        return make(read, pattern_options=_PATTERNS, mask=_MASK, offline=True)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the schema's fault
        msg = str(error).partition("\n")[0][:_MOST_TEXT]
        raise SchemaFault(msg + (_REGEX_HINT if '"regex"' in msg else "")) from None


def fault_of(validator: jsonschema_rs.Validator, payload: object) -> PayloadFault | None:
    """Say what is wrong with a payload first; None: nothing.

    What the library cannot look at (such as what nests very deep) is a fault, too: no payload may
    hold up those behind it.
    """
    try:
        error = next(validator.iter_errors(payload), None)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic of the library is no Exception
        if not isinstance(error, ValueError):  # its word for what nests too deep
            _log.exception("a payload cannot be held to its schema")
        return PayloadFault(path=(), rule=UNABLE, detail=_UNABLE_SAID)
    if error is None:
        return None
    return PayloadFault(
        path=tuple(error.instance_path), rule=error.kind.name, detail=error.message[:_MOST_TEXT]
    )


class _Unfolded:
    """A schema with what it names in the place of every `$ref`."""

    def __init__(self, schema: "Mapping[str, Any] | bool") -> None:
        self._schema = schema
        self._known: dict[str, int] = {}
        self._open: set[str] = set()

    def check(self) -> None:
        """Raise `SchemaFault` if they are too many, or without end."""
        if self._parts(self._schema, 0) > MOST_PARTS:
            msg = f"the schema unfolds to more than {MOST_PARTS} parts"
            raise SchemaFault(msg)

    def _parts(self, value: object, depth: int) -> int:
        if depth > _DEEPEST:
            msg = f"the schema nests deeper than {_DEEPEST}"
            raise SchemaFault(msg)
        if isinstance(value, list):
            return sum(self._parts(item, depth + 1) for item in value)
        if not isinstance(value, dict):
            return 0
        if any(isinstance(value.get(name), str) for name in (_ELSEWHERE[depth == 0 :])):
            msg = f"inside of a schema that payloads are held to there may be no {_LISTED}"
            raise SchemaFault(msg)
        parts = 1 + sum(self._parts(item, depth + 1) for item in value.values())
        parts += _PATTERN_PARTS * len(_object(value.get("patternProperties")))
        named = value.get("$ref")
        return parts + (self._named(named, depth) if isinstance(named, str) else 0)

    def _named(self, ref: str, depth: int) -> int:
        if ref in self._open or ref in ("", "#"):
            msg = f"a schema that payloads are held to may not refer to itself ({ref})"
            raise SchemaFault(msg)
        if ref not in self._known:
            self._open.add(ref)
            self._known[ref] = self._parts(self._target(ref), depth + 1)
            self._open.discard(ref)
        return self._known[ref]

    def _target(self, ref: str) -> object:
        if not ref.startswith("#/"):
            msg = f"nothing is fetched: `$ref` must begin with #/ ({ref[:100]})"
            raise SchemaFault(msg)
        target: Any = self._schema
        for part in ref[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isascii() and name.isdigit():
                target = target[int(name)] if int(name) < len(target) else None
            else:
                target = target.get(name) if isinstance(target, dict) else None
        if not isinstance(target, dict | bool):
            msg = f"there is no {ref[:100]}"
            raise SchemaFault(msg)
        return target


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _pointer(path: "tuple[str | int, ...] | list[str]") -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)
