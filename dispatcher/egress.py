"""The proxy that deliveries go out by, where the operator has one, and how its setting is read.

Pure. The password is in `Proxy` and in what `egress_tunnel.py` sends to the proxy; it is in no
text that this module or that one makes.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

MAX_CREDENTIAL_BYTES: Final = 255  # of a name or a password, by RFC 1929
FORM: Final = "http://[user:password@]host:port or socks5://[user:password@]host:port"


class ProxyKind(StrEnum):
    """How a proxy is asked for a tunnel. Values are the schemes of the setting."""

    CONNECT = "http"  # RFC 9110, 9.3.6; for http endpoints too
    SOCKS5 = "socks5"  # RFC 1928, with RFC 1929 for the password


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """Where the proxy is, and how to be let in."""

    kind: ProxyKind
    host: str
    port: int
    user: str = ""  # none, when empty
    password: str = field(default="", repr=False)


def read_proxy(text: str) -> Proxy:
    """Read the setting.

    Raises:
        ValueError: Worded to follow "must be"; never repeats any of the text.
    """
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(FORM) from None
    if parts.scheme == "socks5h":
        raise ValueError(f"{FORM}: names are resolved and judged here, never by the proxy")
    if parts.scheme not in set(ProxyKind) or not host or parts.path.strip("/"):
        raise ValueError(FORM)
    if not port or parts.query or parts.fragment or not text.isascii():
        raise ValueError(FORM)
    kind = ProxyKind(parts.scheme)
    user, password = _credentials(parts, kind)
    return Proxy(kind=kind, host=host, port=port, user=user, password=password)


def _credentials(parts: SplitResult, kind: ProxyKind) -> tuple[str, str]:
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if password and not user:
        raise ValueError(f"{FORM}: there is a password without a user")
    for one in (user, password):
        if not one.isprintable() or len(one.encode()) > MAX_CREDENTIAL_BYTES:
            raise ValueError(
                f"{FORM}: user and password are {MAX_CREDENTIAL_BYTES} bytes of text at most"
            )
    if kind is ProxyKind.CONNECT and ":" in user:
        raise ValueError(f"{FORM}: a user without a colon")
    if kind is ProxyKind.SOCKS5 and user and not password:
        raise ValueError(f"{FORM}: socks5 needs a password with the user")
    return user, password
