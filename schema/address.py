"""Which URLs and which addresses deliveries may go to. Pure: resolves and opens nothing.

Two gates. `check_url` judges the text of an endpoint's URL, once when it is saved and again when
it is used, and spells it anew from what it understood, so that no second parser can read it
differently. `classify` judges an address; `dispatcher/guard.py` asks it about every address that
a name resolves to, `dispatcher/transport.py` about the peer it reached.

The tables follow the IANA special-purpose registries, and are stricter: of IPv6 only the
allocated 2000::/3 passes, less what is tunnelled, documented or reserved inside it.
`ipaddress.is_global` is not used: it calls NAT64, 6to4, multicast and Azure's 168.63.129.16 global.
"""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import idna

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_URL_CHARS = 2048
MAX_NAME_CHARS = 253  # RFC 1035, less the root's dot
MAX_LABEL_CHARS = 63
DEFAULT_PORTS = {"http": 80, "https": 443}
FREE_PORTS = range(1025, 65536)  # below are the system's services

# Well-known services above 1024 that speak something else than HTTP, or HTTP without a guard.
SERVICE_PORTS = frozenset(
    {1080, 1433, 1434, 1521, 1723, 1883, 2049, 2181, 2375, 2376, 2377, 2379, 2380, 3128, 3268}
    | {3306, 3389, 4222, 4369, 5060, 5061, 5432, 5433, 5671, 5672, 5900, 5901, 5984, 5985, 5986}
    | {6000, 6222, 6379, 6380, 6443, 6667, 6697, 7000, 7001, 7199, 7946, 8086, 8200, 8222, 8300}
    | {8301, 8302, 8500, 8600, 8883, 9042, 9092, 9160, 9200, 9300, 9418, 10248, 10250, 10255, 10256}
    | {10257, 10259, 11211, 15672, 16379, 25672, 26257, 26379, 27017, 27018, 27019, 28015, 33060}
    | {50000, 61616}
)

# Zones that never mean one host on the public internet (RFC 6761 and its registry, RFC 7686,
# ICANN's reserved names, cluster DNS). "example" is left out: it cannot resolve to anything.
SPECIAL_ZONES = frozenset(
    {"alt", "arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local"}
    | {"localdomain", "localhost", "mail", "onion", "private", "svc", "test", "workgroup"}
)

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_ISATAP = 0x5EFE  # above an IPv4 address, in the lower half of an IPv6 one; its u-bit may be set
_REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(cidr), reason)
    for reason, cidrs in {
        "unspecified": "0.0.0.0/8 ::/128",
        "loopback": "127.0.0.0/8 ::1/128",
        "private": "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7 fec0::/10",
        "shared": "100.64.0.0/10",
        "link_local": "169.254.0.0/16 fe80::/10",
        "platform": "168.63.129.16/32",  # Azure's WireServer, inside public space
        "protocol": "192.0.0.0/24 192.31.196.0/24 192.52.193.0/24 192.175.48.0/24"
        " 2620:4f:8000::/48",
        "documentation": "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20",
        "benchmarking": "198.18.0.0/15",
        "tunnel": "192.88.99.0/24 64:ff9b::/96 64:ff9b:1::/48 2001::/23 2002::/16",
        "multicast": "224.0.0.0/4 ff00::/8",
        "reserved": "240.0.0.0/4",
    }.items()
    for cidr in cidrs.split()
)

_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?]*)(?P<target>.*)")
_AUTHORITY = re.compile(r"(?P<host>\[[^\[\]]*\]|[^\[\]:]*)(?::(?P<port>[1-9][0-9]{0,4}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_GREEK_OR_CYRILLIC = re.compile("[\u0370-\u052f]")
_LOOKS_LATIN = re.compile(
    "[\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0455\u0456\u0458\u0475\u04bb\u04cf\u0501\u051b"
    "\u051d\u03bd\u03bf\u03f2\u03f3-]+"
)


class UrlFault(ValueError):
    """This URL can never be an endpoint's. `code` is for programs, the text for its owner."""

    def __init__(self, code: str, text: str) -> None:
        """Say what is wrong without repeating the URL, which may hold a secret."""
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressPolicy:
    """What the operator allows beyond the public internet."""

    allowed_networks: tuple[Network, ...] = ()  # may be reached although private
    https_only: bool = False
    allow_ip_literals: bool = False  # a literal inside `allowed_networks` needs no permission
    denied_ports: frozenset[int] = SERVICE_PORTS

    def lists(self, ip: Address) -> bool:
        """Say whether the operator named a network that holds `ip`."""
        return any(ip in network for network in self.allowed_networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointUrl:
    """A URL that passed the text gate, spelled from its parts."""

    text: str
    scheme: str  # "http" or "https"
    host: str  # A-labels, or an address without brackets
    port: int
    target: bytes  # path and query, as they were given
    authority: bytes  # for the Host header
    is_literal: bool


def classify(ip: Address) -> str | None:
    """Name the reason why nothing may be delivered to `ip`, or None when it is public."""
    ip = _unmapped(ip)
    for network, reason in _REFUSED:
        if ip in network:
            return reason
    if isinstance(ip, IPv6Address):
        if ip not in _GLOBAL_UNICAST:
            return "unallocated"
        if (int(ip) >> 32) & 0xFDFF_FFFF == _ISATAP:
            return "tunnel"
    return None


def allowed(ip: Address, policy: AddressPolicy) -> bool:
    """Say whether a delivery may be sent to `ip`."""
    return policy.lists(ip) or policy.lists(_unmapped(ip)) or classify(ip) is None


def loopback_addresses(policy: AddressPolicy) -> tuple[str, ...]:
    """List what `localhost` means under `policy`; empty where loopback is refused."""
    return tuple(host for host in ("127.0.0.1", "::1") if policy.lists(ip_address(host)))


def is_localhost(host: str) -> bool:
    """Say whether a name is the loopback by RFC 6761, whatever DNS says about it."""
    return host == "localhost" or host.endswith(".localhost")


def check_url(text: str, policy: AddressPolicy) -> EndpointUrl:
    """Judge a URL by its text and spell it anew; its name may still resolve to a refused address.

    Scheme and host are lower-cased, the host is written in A-labels, a default port is dropped, an
    empty path becomes "/"; path and query stay byte for byte.

    Raises:
        UrlFault: It cannot be an endpoint's URL under this policy.
    """
    scheme, authority, target = _split(text, policy)
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise UrlFault("form", "The host or the port of the URL is malformed.")
    host, is_literal = _check_host(match["host"], policy)
    port = int(match["port"] or DEFAULT_PORTS[scheme])
    trusted = is_localhost(host) or (is_literal and policy.lists(ip_address(host)))
    _check_port(port, policy, trusted=trusted)
    spelled = f"[{host}]" if ":" in host else host
    if port != DEFAULT_PORTS[scheme]:
        spelled = f"{spelled}:{port}"
    return EndpointUrl(
        text=f"{scheme}://{spelled}{target}",
        scheme=scheme,
        host=host,
        port=port,
        target=target.encode("ascii"),
        authority=spelled.encode("ascii"),
        is_literal=is_literal,
    )


def _split(text: str, policy: AddressPolicy) -> tuple[str, str, str]:
    """Cut a URL into scheme, authority and target, refusing whatever parsers disagree about."""
    if len(text) > MAX_URL_CHARS:
        raise UrlFault("too_long", f"The URL is longer than {MAX_URL_CHARS} characters.")
    if _UNSAFE.search(text):
        raise UrlFault("character", "Spaces, control characters and backslashes are not allowed.")
    if "#" in text:
        raise UrlFault("fragment", "A fragment (#...) is never sent; remove it.")
    match = _URL.fullmatch(text)
    if match is None:
        raise UrlFault("form", "The URL must have the form https://host/path.")
    scheme, authority, target = match["scheme"].lower(), match["authority"], match["target"]
    if scheme not in DEFAULT_PORTS or (policy.https_only and scheme != "https"):
        wanted = "https" if policy.https_only else "https or http"
        raise UrlFault("scheme", f"The URL must begin with {wanted}.")
    if "@" in authority:
        raise UrlFault("userinfo", "A user name or password in the URL is not allowed.")
    if not target.isascii():
        raise UrlFault("character", "Percent-encode what is not ASCII in the path and query.")
    return scheme, authority, target if target.startswith("/") else f"/{target}"


def _check_port(port: int, policy: AddressPolicy, *, trusted: bool) -> None:
    """Allow the web's own ports and the unprivileged ones that no known service has."""
    if port in DEFAULT_PORTS.values():
        return
    if port not in FREE_PORTS or (port in policy.denied_ports and not trusted):
        raise UrlFault("port", f"Port {port} is not allowed.")


def _check_host(raw: str, policy: AddressPolicy) -> tuple[str, bool]:
    """Return the host as it is dialled, and whether it is an address."""
    if raw.startswith("["):
        return _check_ipv6(raw[1:-1], policy), True
    labels = [_check_label(label) for label in raw.removesuffix(".").split(".")]
    if _NUMBER.fullmatch(labels[-1]):  # what resolvers and browsers read as IPv4, in any spelling
        return _check_ipv4(raw, policy), True
    _check_unlike_latin(labels)
    host = ".".join(labels)
    if len(host) > MAX_NAME_CHARS:
        raise UrlFault("host", "The host name is too long.")
    if is_localhost(host):
        if not loopback_addresses(policy):
            raise UrlFault("name", "The host must be a public name.")
    elif len(labels) == 1 or labels[-1] in SPECIAL_ZONES:
        raise UrlFault("name", "The host must be a public name.")
    return host, False


def _check_label(label: str) -> str:
    """Return one label of a name as an A-label, by IDNA 2008 without any mapping."""
    lowered = "".join(char.lower() if char.isascii() else char for char in label)
    try:
        if not lowered.isascii():
            return idna.alabel(lowered).decode("ascii")
        if lowered.startswith("xn--"):
            lowered = idna.alabel(idna.ulabel(lowered)).decode("ascii")
    except idna.IDNAError:
        raise UrlFault("host", "The host is not a valid international name.") from None
    if len(lowered) > MAX_LABEL_CHARS or not _LABEL.fullmatch(lowered):
        raise UrlFault("host", "The host is not a valid name.")
    return lowered


def _check_unlike_latin(labels: list[str]) -> None:
    """Refuse Greek and Cyrillic that passes for Latin: mixed in, or wholly of look-alikes."""
    for label in labels:
        shown = idna.ulabel(label) if label.startswith("xn--") else label
        if not _GREEK_OR_CYRILLIC.search(shown):
            continue
        mixed = re.search("[a-z]", shown)
        if mixed or (_LOOKS_LATIN.fullmatch(shown) and not labels[-1].startswith("xn--")):
            raise UrlFault("host", "The host imitates a name in Latin letters.")


def _check_ipv4(raw: str, policy: AddressPolicy) -> str:
    """Accept an address only in its one canonical spelling."""
    try:
        ip = IPv4Address(raw)
    except ValueError:
        raise UrlFault("host", "The host is a number, but not an IPv4 address.") from None
    return _check_literal(ip, policy)


def _check_ipv6(raw: str, policy: AddressPolicy) -> str:
    """Accept an address without a zone that is not IPv4 in disguise."""
    try:
        ip = IPv6Address(raw)
    except ValueError:
        raise UrlFault("host", "The host in brackets is not an IPv6 address.") from None
    if ip.scope_id is not None or ip.ipv4_mapped is not None:
        raise UrlFault("host", "The host in brackets must be a plain IPv6 address.")
    return _check_literal(ip, policy)


def _check_literal(ip: Address, policy: AddressPolicy) -> str:
    if not allowed(ip, policy):
        raise UrlFault("address", "Address not allowed.")
    if not (policy.allow_ip_literals or policy.lists(ip)):
        raise UrlFault("ip_literal", "The host must be a name, not an address.")
    return str(ip)


def _unmapped(ip: Address) -> Address:
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return ip if mapped is None else mapped
