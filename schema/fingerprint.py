"""Which failures are alike: one name for those of a kind, a status and an answer. Pure.

What differs from one failure to the next of the same cause (ids, numbers, times, what is quoted) is
reduced, so that an endpoint's failures fall into few groups. Fingerprints are stored: another
reduction makes other groups.
"""

import hashlib
import re
from functools import lru_cache
from typing import Final

from schema.dead_letter import class_of
from schema.delivery import Outcome, Reason

LENGTH: Final = 16  # hexadecimal digits
READ_BYTES: Final = 1_024  # of an answer
KEPT: Final = 256  # characters, reduced
_MARK: Final = "#"
_UNSENT: Final = frozenset({Reason.ENDPOINT_DISABLED, Reason.ENDPOINT_DELETED, Reason.EXPIRED})

_QUOTED: Final = re.compile(
    r"""(?<!\w)'[^'\n]{0,200}+'(?!\w)|(?<!\w)"[^"\n]{0,200}+"(?!\w)|`[^`\n]{0,200}+`"""
)
# The strings of a JSON text are what it says; what is quoted stands within them.
_QUOTED_IN_JSON: Final = re.compile(
    r"""(?<!\w)'[^'"\n]{0,200}+'(?!\w)|\\"(?:[^"\\\n]){0,200}+\\"|`[^`"\n]{0,200}+`"""
)
_ESCAPE: Final = re.compile(r"\\u[0-9a-f]{4}|\\[nrt]")
_UUID: Final = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.ASCII)
_TIME: Final = re.compile(
    r"\d{4}-\d\d-\d\d(?:[t ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
# Eight characters and a digit among them, or hexadecimal and long: an id.
_IDENT: Final = re.compile(r"\b(?:(?=[a-z_]*+\d)\w{8,}|[0-9a-f]{16,})(?!\w)", re.ASCII)
_NUMBER: Final = re.compile(r"\d+", re.ASCII)
_MARKS: Final = re.compile(rf"{_MARK}(?:[\s,.:;/+-]*{_MARK})+")
_SPACE: Final = re.compile(r"\s+")


@lru_cache(maxsize=1_024)  # an outage answers everybody alike
def reduce(text: str) -> str:
    """Give what is the same in all answers of a kind."""
    text = text.lower()
    if text.lstrip()[:1] in {"{", "["}:
        text = _QUOTED_IN_JSON.sub(_MARK, _ESCAPE.sub(" ", text))
    else:
        text = _QUOTED.sub(_MARK, text)
    for variable in (_UUID, _TIME, _IDENT, _NUMBER, _MARKS):
        text = variable.sub(_MARK, text)
    return _SPACE.sub(" ", text).strip()[:KEPT]


def fingerprint(reason: Reason | None, outcome: Outcome | None) -> str:
    """Name the kind of failure that a delivery was given up for.

    Args:
        reason: Why it was given up. Where nothing was sent any more the reason is all there is.
        outcome: What its last attempt came to, if there was one.
    """
    if outcome is None or reason in _UNSENT:
        outcome = Outcome()
    kind = class_of(reason, outcome.status, outcome.fault)
    said = outcome.body[:READ_BYTES].decode(errors="replace") or outcome.detail[:READ_BYTES]
    whole = f"{kind}:{outcome.status or 0}:{reduce(said)}"
    return hashlib.sha256(whole.encode()).hexdigest()[:LENGTH]
