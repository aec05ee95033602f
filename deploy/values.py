"""How the text of a setting is read and written: one pair of functions for each type."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Final

Network = IPv4Network | IPv6Network

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that no log and no traceback shows."""

    _text: str

    def reveal(self) -> str:
        """Give the text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One type of setting. `read` raises ValueError, worded to follow "must be"."""

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def _read_bool(text: str) -> bool:
    if text.lower() not in _TRUE | _FALSE:
        raise ValueError("true or false")
    return text.lower() in _TRUE


def _read_int(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _read_float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("a number")
    return number


def _read_floats(text: str) -> tuple[float, ...]:
    return tuple(_read_float(part) for part in _parts(text))


def _read_networks(text: str) -> tuple[Network, ...]:
    try:
        return tuple(ip_network(part) for part in _parts(text))
    except ValueError as error:
        raise ValueError(f"networks such as 10.0.0.0/8, with commas ({error})") from None


def _read_str(text: str) -> str:
    if not text:
        raise ValueError("something; unset it for its default")
    return text


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(number: float) -> str:
    """Write 300.0 as 300, and 2.5 as it is."""
    return str(int(number)) if number == int(number) else repr(number)


def _commas(values: tuple[Any, ...]) -> str:
    return ",".join(_number(v) if isinstance(v, float) else str(v) for v in values)


KINDS: Final[dict[Any, Kind]] = {
    str: Kind(name="text", read=_read_str, write=str),
    bool: Kind(name="true or false", read=_read_bool, write=lambda value: str(value).lower()),
    int: Kind(name="whole number", read=_read_int, write=str),
    float: Kind(name="number", read=_read_float, write=_number),
    Path: Kind(name="path", read=lambda text: Path(_read_str(text)), write=str),
    Secret | None: Kind(
        name="secret text",
        read=lambda text: Secret(_read_str(text)),
        write=lambda value: "" if value is None else value.reveal(),
    ),
    tuple[float, ...]: Kind(name="numbers, with commas", read=_read_floats, write=_commas),
    tuple[Network, ...]: Kind(name="networks, with commas", read=_read_networks, write=_commas),
}
