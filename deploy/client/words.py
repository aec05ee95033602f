"""Numbers, times and texts as a person reads them (pure)."""

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import orjson

_BARS: Final = "▁▂▃▄▅▆▇█"
_STEPS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_UNITS: Final = ("B", "kB", "MB", "GB", "TB")
_THOUSAND: Final = 1_000
_SMALL: Final = 10
_MOST_SHOWN: Final = 10_000  # characters
_BREAKS: Final = "\n\t"


def plain(text: object, *, lines: bool = False) -> str:
    """Give a text that moves no cursor, whoever wrote it: what is not printed becomes a dot.

    Args:
        text: The text.
        lines: Whether it may have line breaks and tabs.
    """
    kept = _BREAKS if lines else ""
    return "".join(one if one in kept or _is_printed(one) else "·" for one in str(text))


def _is_printed(one: str) -> bool:
    return unicodedata.category(one)[0] != "C" and one not in "\u2028\u2029"


def number(value: int) -> str:
    """Write 1234567 as 1,234,567."""
    return f"{value:,}"


def count(value: int, *, at_least: bool) -> str:
    """Write a count; `at_least` says that there may be more."""
    return f"{value:,}{'+' if at_least else ''}"


def plural(value: int, word: str) -> str:
    """Write `1 letter`, `2 letters`."""
    return f"{value:,} {word}{'' if value == 1 else 's'}"


def size(size_bytes: int | None) -> str:
    """Write 1500 as 1.5 kB; nothing is a dash."""
    if size_bytes is None:
        return "-"
    value, unit = float(size_bytes), 0
    while value >= _THOUSAND and unit < len(_UNITS) - 1:
        value, unit = value / _THOUSAND, unit + 1
    digits = 1 if unit and value < _SMALL else 0
    return f"{value:.{digits}f} {_UNITS[unit]}"


def duration(seconds: float | None) -> str:
    """Write 3725 as 1h 2m: two steps at most; nothing is a dash."""
    if seconds is None:
        return "-"
    left, said = max(round(seconds), 0), list[str]()
    for step_s, letter in _STEPS:
        some, left = divmod(left, step_s)
        if some or said:
            said.append(f"{some}{letter}" if some else "")
        if len(said) == 2:  # noqa: PLR2004 - two steps
            break
    return " ".join(filter(None, said)) or "0s"


def moment(text: str | None) -> datetime | None:
    """Read a time of the API."""
    return None if text is None else datetime.fromisoformat(text)


def age(text: str | None, now: datetime) -> str:
    """Say how long ago a time of the API is, in one step: 3h; nothing is a dash."""
    at = moment(text)
    return "-" if at is None else duration((now - at).total_seconds()).split(" ")[0]


def when(text: str | None, now: datetime) -> str:
    """Write a time of the API with its age."""
    at = moment(text)
    if at is None:
        return "-"
    ahead = at > now
    how_far = duration(abs((now - at).total_seconds()))
    return f"{at:%Y-%m-%d %H:%M:%S}Z ({f'in {how_far}' if ahead else f'{how_far} ago'})"


def trend(counts: Sequence[int]) -> str:
    """Draw counts as bars; a dot is none."""
    most = max(counts, default=0)
    return "".join(_BARS[(one * len(_BARS) - 1) // most] if one else "·" for one in counts)


def document(body: object) -> str:
    """Write a payload or an answer: JSON with indents, text as it is, no more than can be read."""
    if body is None:
        return "-"
    text = (
        body if isinstance(body, str) else orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()
    )
    shown = plain(text[:_MOST_SHOWN], lines=True)
    return shown if len(text) <= _MOST_SHOWN else f"{shown}\n… {number(len(text))} in all: --json"


def failure(thing: dict[str, object]) -> str:
    """Say of what a letter or a group failed: the error class, and the status if there was one."""
    status = thing.get("responseStatusCode") or ""
    return plain(f"{thing.get('errorClass') or '-'} {status}").rstrip()
