"""What an attempt sent, and what it was answered, as headers: told from what there is. Pure.

The log keeps no request. All that is the same for every request, the message's and the attempt's
own headers are told as they were sent; those of the endpoint, and whether Svix's names are sent
too, as it is now. Signatures are not known.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.headers import split
from schema.delivery import Fault
from schema.endpoint import SENT_ALWAYS
from schema.message import Message
from schema.store.attempt import Attempt
from signer.standard import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

# What ends an attempt before there is a connection that a request could be sent by.
_UNSENT: Final = frozenset(
    {Fault.DNS, Fault.BLOCKED, Fault.CONNECT_REFUSED, Fault.CONNECT, Fault.PROXY, Fault.TLS}
    | {Fault.OAUTH, Fault.INTERNAL, Fault.TRANSFORMATION}
)
_AUTHORIZATION: Final = "authorization"
_OURS: Final = "webhook-"
_SVIX: Final = "svix-"
_Headers = dict[str, str]


def sent(
    attempt: Attempt,
    message: Message,
    own: Mapping[str, str],
    *,
    svix_headers: bool,
    has_token: bool = False,
) -> tuple[_Headers, list[str]]:
    """Give the headers of an attempt's request, and the names of those that are not shown.

    Names are lower-cased; `own` are those that the endpoint has now, `has_token` whether it gets
    access tokens now. Both are empty if no request was made.
    """
    if attempt.fault in _UNSENT:
        return {}, []
    shown, hidden = split(own)
    headers = _joined([*SENT_ALWAYS, *shown.items()])
    headers |= {
        "host": urlsplit(attempt.url).netloc,
        "accept-encoding": "identity",
        "content-type": message.content_type,
    }
    if message.payload is not None:
        headers["content-length"] = str(len(message.payload))
    marks = {ID_HEADER: message.id, TIMESTAMP_HEADER: str(_signed_s(attempt))}
    names = [name.lower() for name in hidden] + [SIGNATURE_HEADER]
    if has_token and _AUTHORIZATION not in names:
        names.insert(0, _AUTHORIZATION)
    if svix_headers:
        marks |= {_svix(name): value for name, value in marks.items()}
        names.append(_svix(SIGNATURE_HEADER))
    return headers | marks, names


def answered(kept: Mapping[str, Any] | Sequence[Any] | None) -> list[tuple[str, str]] | None:
    """Give the headers of an answer as pairs; None where the log has none."""
    if kept is None:
        return None
    pairs = kept.items() if isinstance(kept, Mapping) else kept
    return [(name, value) for name, value in pairs]


def _joined(headers: list[tuple[str, str]]) -> _Headers:
    """Join the values of one name, which means the same (RFC 9110, 5.3)."""
    found: _Headers = {}
    for name, value in headers:
        key = name.lower()
        found[key] = f"{found[key]}, {value}" if key in found else value
    return found


def _signed_s(attempt: Attempt) -> int:
    """Say when it was signed: when its name had been resolved."""
    dns_ms = attempt.phases_ms[0] if attempt.phases_ms else 0.0
    return int((attempt.started_at + timedelta(milliseconds=dns_ms)).timestamp())


def _svix(name: str) -> str:
    return name.replace(_OURS, _SVIX, 1)
