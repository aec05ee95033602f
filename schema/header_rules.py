"""Which headers a tenant may add to requests, for whoever sets them and whoever sends. Pure."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

MAX_HEADERS: Final = 64
MAX_VALUE: Final = 4_096  # characters
CONTENT_TYPE: Final = "content-type"
# Those that say how a request is framed, where it goes, or what proxies do with it; and ours.
_RESERVED: Final = frozenset(
    {"age", "cache-control", "clear-site-data", "connection", "content-encoding"}
    | {"content-language", "content-length", "content-location", CONTENT_TYPE, "expect"}
    | {"expires", "host", "keep-alive", "pragma", "te", "trailer", "trailers"}
    | {"transfer-encoding", "upgrade", "user-agent", "warning"}
)
_RESERVED_PREFIXES: Final = (
    "hookline-",
    "proxy-",
    "svix-",
    "webhook-",
    "x-amz-",
    "x-amzn-",
    "x-azure-",
    "x-fd-",
    "x-gfe",
    "x-goog-",
    "x-google",
    "x-svix-",
)
_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}\Z", re.ASCII)  # RFC 9110, 5.6.2
_VALUE: Final = re.compile(r"([!-~]([ -~\t]*[!-~])?)?\Z", re.ASCII)


def header_faults(
    headers: Mapping[str, str], *, besides: frozenset[str] = frozenset()
) -> Iterator[str]:
    """Say what is wrong with headers; `besides` are reserved names that may be set all the same."""
    if len(headers) > MAX_HEADERS:
        yield f"at most {MAX_HEADERS} expected"
    if len({key.lower() for key in headers}) < len(headers):
        yield "a name stands twice"
    for key, value in headers.items():
        lowered = key.lower()
        if not _NAME.match(key):
            yield f"{key!r} is not the name of a header"
        elif lowered not in besides and (
            lowered in _RESERVED or lowered.startswith(_RESERVED_PREFIXES)
        ):
            yield f"the header {key} is reserved"
        elif len(value) > MAX_VALUE or not _VALUE.match(value):
            yield f"the value of {key} must be at most {MAX_VALUE} plain characters"
