"""The headers that a tenant adds to the requests to an endpoint: which are taken, which are shown.

At rest they are one sealed JSON object of names to values, as they may hold credentials.
"""

from collections.abc import Mapping
from typing import Final

import orjson

from gateway.body import Fields
from schema.endpoint import secret_context
from schema.header_rules import header_faults
from signer.vault import Vault

SENSITIVE: Final = frozenset(
    {"authorization", "proxy-authenticate", "proxy-authorization", "www-authenticate"}
    | {"x-api-key", "x-auth-token"}
)


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
    for fault in header_faults(headers):
        fields.fault(name, fault)


def _names(fields: Fields) -> list[str]:
    given = fields.raw("deleteHeaders")
    if given is None:
        return []
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        fields.fault("deleteHeaders", "a list of names is expected")
        return []
    return [item.lower() for item in given]
