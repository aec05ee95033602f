"""The headers that a tenant adds to the requests to an endpoint: which are taken, which are shown.

At rest they are one sealed JSON object of names to values, as they may hold credentials.
"""

import re
from collections.abc import Mapping
from typing import Final

import orjson

from gateway.body import Fields
from schema.endpoint import secret_context
from signer.vault import Vault

MAX_HEADERS: Final = 64
MAX_VALUE: Final = 4_096  # characters
SENSITIVE: Final = frozenset(
    {"authorization", "proxy-authenticate", "proxy-authorization", "www-authenticate"}
    | {"x-api-key", "x-auth-token"}
)
# Those that say how a request is framed, where it goes, or what proxies do with it; and ours.
_RESERVED: Final = frozenset(
    {"age", "cache-control", "clear-site-data", "connection", "content-encoding"}
    | {"content-language", "content-length", "content-location", "content-type", "expect"}
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


def read_headers(fields: Fields, name: str = "headers") -> dict[str, str]:
    """Read headers to be set; absent is none."""
    headers = fields.text_map(name)
    _check(fields, name, headers)
    return headers


def merged(fields: Fields, present: Mapping[str, str]) -> dict[str, str]:
    """Read what is to be changed: new values, nulls that remove, and `deleteHeaders`.

    Names are compared without regard to case; a new value brings its own spelling.
    """
    changes = fields.optional_text_map("headers")
    removed = {*_names(fields), *(key.lower() for key in changes)}
    kept = {key: value for key, value in present.items() if key.lower() not in removed}
    added = {key: value for key, value in changes.items() if value is not None}
    headers = {**kept, **added}
    _check(fields, "headers", headers)
    return headers


def split(headers: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Give what may be shown, and the names of those whose value may not."""
    shown = {key: value for key, value in headers.items() if key.lower() not in SENSITIVE}
    return shown, [key for key in headers if key.lower() in SENSITIVE]


def seal(vault: Vault, app_id: str, endpoint_id: str, headers: Mapping[str, str]) -> bytes | None:
    """Make of headers what is stored."""
    if not headers:
        return None
    return vault.seal(orjson.dumps(dict(headers)), context=secret_context(app_id, endpoint_id))


def unseal(vault: Vault, app_id: str, endpoint_id: str, sealed: bytes | None) -> dict[str, str]:
    """Read what was stored.

    Raises:
        VaultFault: It cannot be opened.
    """
    if sealed is None:
        return {}
    opened = vault.open(sealed, context=secret_context(app_id, endpoint_id))
    headers: dict[str, str] = orjson.loads(opened)
    return headers


def _check(fields: Fields, name: str, headers: Mapping[str, str]) -> None:
    if len(headers) > MAX_HEADERS:
        fields.fault(name, f"at most {MAX_HEADERS} expected")
    if len({key.lower() for key in headers}) < len(headers):
        fields.fault(name, "a name stands twice")
    for key, value in headers.items():
        lowered = key.lower()
        if not _NAME.match(key):
            fields.fault(name, f"{key!r} is not the name of a header")
        elif lowered in _RESERVED or lowered.startswith(_RESERVED_PREFIXES):
            fields.fault(name, f"the header {key} is reserved")
        elif len(value) > MAX_VALUE or not _VALUE.match(value):
            fields.fault(name, f"the value of {key} must be at most {MAX_VALUE} plain characters")


def _names(fields: Fields) -> list[str]:
    given = fields.raw("deleteHeaders")
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        fields.fault("deleteHeaders", "a list of names is expected")
        return []
    return [item.lower() for item in given]
