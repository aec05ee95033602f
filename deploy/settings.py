"""What an operator can set: read once, checked together, handed down by value.

The variable of a field is `HOOKLINE_<NAME>`; only DATABASE_URL and NATS_URL go by the names that
the rest of the world gives them. Names end in their unit; without one, a duration is in seconds.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self, get_type_hints
from urllib.parse import urlsplit

from deploy.values import KINDS, Kind, Network, Secret
from dispatcher.egress import read_proxy
from dispatcher.mail import read_sender, read_server
from gateway.svix_token import ALGORITHMS, read_rules
from schema.errors import SettingsFault
from schema.retry import DEFAULT_WAITS_S, MAX_ATTEMPTS, MAX_WAIT_S

PREFIX: Final = "HOOKLINE_"
UNPREFIXED: Final = frozenset({"DATABASE_URL", "NATS_URL"})
# Where the API is (`<home>/env` exports it), and a key: for people, and commands that are clients.
NOT_SETTINGS: Final = frozenset({"HOOKLINE_URL", "HOOKLINE_KEY"})

_MIB: Final = 1024 * 1024
_DAY_S: Final = 86_400
_WAITS_S: Final = tuple(float(wait_s) for wait_s in DEFAULT_WAITS_S)
_SCHEMES: Final = {"DATABASE_URL": ("postgresql", "postgres"), "NATS_URL": ("nats", "tls")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the settings reference."""

    name: str
    type: str
    default: str
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """What a field says of itself beside its type and default."""

    meaning: str
    low: float | None
    high: float | None
    one_of: tuple[str, ...]


def _set(
    default: object,
    meaning: str,
    *,
    low: float | None = None,
    high: float | None = None,
    one_of: tuple[str, ...] = (),
) -> Any:  # noqa: ANN401 - stands for a default of any type, as `dataclasses.field` itself does
    about = _About(meaning=meaning, low=low, high=high, one_of=one_of)
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting of every part. `from_environ` checks them; the constructor does not."""

    # What it stands on
    database_url: Secret | None = _set(None, "Postgres. Unset: `up` runs its own")
    nats_url: Secret | None = _set(None, "NATS, servers with commas. Unset: `up` runs its own")
    vault_keys: Secret | None = _set(None, "Keys for secrets at rest. Unset: `<home>/vault.keys`")
    home: Path = _set(Path(".hookline"), "Data directory of this installation")
    connect_timeout_s: float = _set(30.0, "Wait for Postgres and NATS at start", low=1, high=600)
    gateway_pool: int = _set(10, "Postgres connections of a gateway", low=2, high=200)
    dispatcher_pool: int = _set(8, "Postgres connections of a dispatcher", low=3, high=200)

    # Who may call
    public_url: str = _set("", "Where people reach the gateway. Unset: as a request says")
    jwt_secret: Secret | None = _set(None, "What Svix's tokens are signed with. Unset: none count")
    jwt_algorithm: str = _set("HS256", "How they are signed", one_of=ALGORITHMS)

    # What runs
    host: str = _set("127.0.0.1", "Address that the gateway listens on")
    port: int = _set(8071, "Port of the API and the console. 0: a free one", low=0, high=65_535)
    gateways: int = _set(1, "Gateway processes of `up`", low=1, high=64)
    dispatchers: int = _set(1, "Dispatcher processes of `up`", low=0, high=64)
    demo: bool = _set(default=False, meaning="`up` adds receivers and a trickle of sample events")
    drain_s: float = _set(20.0, "Wait for what is in flight at a stop", low=0, high=600)
    log_level: str = _set("info", "Least that is logged", one_of=("debug", "info", "warning"))
    log_format: str = _set("text", "Form of a log line", one_of=("text", "json"))
    metrics_port: int = _set(0, "Port of a dispatcher's /metrics. 0: none", low=0, high=65_535)

    # What comes in
    http_head_s: float = _set(10.0, "Wait for a request's line and headers", low=0.1, high=3600)
    http_stall_s: float = _set(
        30.0, "Wait for more of a body, or for an answer to be read on", low=0.1, high=3600
    )
    http_connections: int = _set(
        10_000, "Connections of a gateway process at a time", low=10, high=1_000_000
    )
    max_payload_bytes: int = _set(_MIB, "Largest payload of an event", low=1024, high=32 * _MIB)
    max_bulk_bytes: int = _set(
        16 * _MIB, "Largest body of a bulk request", low=65_536, high=256 * _MIB
    )
    app_events_per_s: int = _set(
        0, "Events of an app that a gateway takes in a second. 0: any", low=0, high=10_000_000
    )
    app_backlog: int = _set(
        1_000_000,
        "Deliveries an app may be owed before it is refused. 0: any",
        low=0,
        high=10_000_000,
    )
    poll_margin_s: float = _set(
        10.0, "Age of the newest message that a poller gives", low=0, high=3600
    )
    tests: int = _set(64, "Tests that a gateway waits for at a time", low=1, high=10_000)
    app_tests: int = _set(4, "Of these, one app's", low=1, high=10_000)
    shards: int = _set(64, "Parts that apps fall into. Fixed with the database", low=1, high=1024)
    stream_max_age_days: float = _set(7.0, "Days that the stream keeps events", low=0.01, high=365)
    stream_max_bytes: int = _set(10_240 * _MIB, "Most bytes of the stream", low=64 * _MIB)
    duplicate_window_s: float = _set(
        120.0, "How long NATS refuses a repeated id", low=0.1, high=_DAY_S
    )

    # What goes out
    retry_schedule: tuple[float, ...] = _set(
        _WAITS_S, "Seconds before each retry", low=0, high=MAX_WAIT_S
    )
    retry_jitter: float = _set(0.1, "Part by which chance lengthens a wait", low=0, high=1)
    request_timeout: float = _set(
        20.0, "Seconds that one whole attempt may take", low=0.1, high=300
    )
    allowed_networks: tuple[Network, ...] = _set((), "Private networks that deliveries may reach")
    egress_proxy: Secret | None = _set(None, "Proxy that deliveries go through. Unset: none")
    https_only: bool = _set(default=False, meaning="Refuse endpoints that are not https")
    svix_headers: bool = _set(default=False, meaning="Send the `svix-*` header names as well")
    response_kept_bytes: int = _set(16_384, "Most that is kept of an answer", low=0, high=65_536)
    transformation_time_s: float = _set(
        0.1, "CPU time of a run of an endpoint's code", low=0.01, high=5
    )
    transformation_memory_bytes: int = _set(
        32 * _MIB, "Memory of a run of an endpoint's code", low=4 * _MIB, high=1024 * _MIB
    )
    transformers: int = _set(
        1, "Processes for endpoints' code, and as many for slow code", low=1, high=64
    )
    in_flight: int = _set(512, "Requests at a time of a dispatcher", low=1, high=20_000)
    app_share: float = _set(0.25, "Part of `in_flight` that one app may take", low=0.001, high=1)
    endpoint_in_flight: int = _set(16, "Requests at a time to an endpoint", low=1, high=1000)
    failing_after: int = _set(
        10, "Failures in a row before an endpoint is only probed", low=1, high=1000
    )
    probe_gap_s: float = _set(1.0, "Wait before its first probe, then doubled", low=0.01, high=3600)
    probe_gap_most_s: float = _set(60.0, "Longest wait between probes", low=0.01, high=86_400)
    flood_rest: float = _set(
        1.0, "Wait after a flood's batch while others publish, per its time", low=0, high=20
    )
    lane_depth: int = _set(256, "Deliveries of an endpoint held in memory", low=1, high=10_000)
    lease_s: float = _set(10.0, "A silent dispatcher loses its shards after", low=3, high=300)

    # What operators are told
    operational_per_minute: int = _set(
        10, "Operational events of a kind and endpoint in a minute", low=1, high=10_000
    )
    attempt_log_s: float = _set(
        5.0, "Pause between two logs of attempts, where one is wanted", low=0.1, high=3600
    )
    otel_s: float = _set(
        5.0, "Pause between two exports of attempts to a collector", low=0.1, high=3600
    )
    otel_waiting: int = _set(
        100_000, "Attempts of an environment that wait for its collector", low=1, high=10_000_000
    )
    smtp_url: Secret | None = _set(None, "Server that mails to apps go by. Unset: none are sent")
    mail_from: str = _set("", "Address that they are from. Needed with `smtp_url`")
    mail_pause_s: float = _set(
        3600.0, "Pause between two mails of a kind about an endpoint", low=60, high=7 * _DAY_S
    )
    alert_update_s: float = _set(
        300.0, "Pause between two words about a raised alert", low=15, high=_DAY_S
    )
    disable_after_days: float = _set(
        5.0, "Days of nothing but failures that disable an endpoint. 0: none do", low=0, high=365
    )
    disable_warning_days: float = _set(1.0, "Days before that at which it is told", low=0, high=365)

    # What is kept
    retention_days: int = _set(30, "Days that messages and attempts are kept", low=1, high=3650)
    counted_types: int = _set(
        200, "Event types of an app counted apart in five minutes", low=1, high=10_000
    )
    dead_letter_retention_days: int = _set(
        90, "Days that dead letters are kept after their last change", low=1, high=3650
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read every setting.

        Raises:
            SettingsFault: Lists everything that is wrong, misspelt names included.
        """
        faults = _unknown(environ)
        values: dict[str, Any] = {}
        for name, one, kind in _all():
            text = environ.get(name)
            if text is not None:
                try:
                    values[one.name] = _read(name, kind, text, one.metadata["about"])
                except ValueError as error:
                    faults.append(f"{name} must be {error}")
        settings = cls(**values)
        faults += _clashes(settings)
        if faults:
            raise SettingsFault(faults)
        return settings

    def to_environ(self) -> dict[str, str]:
        """Write what differs from the defaults, for a child process to read again."""
        return {
            name: kind.write(getattr(self, one.name))
            for name, one, kind in _all()
            if getattr(self, one.name) != one.default
        }


def describe() -> list[Row]:
    """Give the settings reference, in the order of the fields."""
    return [
        Row(
            name=name,
            type=" or ".join(one.metadata["about"].one_of) or kind.name,
            default=kind.write(one.default),
            meaning=one.metadata["about"].meaning,
        )
        for name, one, kind in _all()
    ]


def _all() -> Iterator[tuple[str, "Field[Any]", Kind]]:
    """Give each setting's variable, field and kind."""
    types = get_type_hints(Settings)
    for one in fields(Settings):
        upper = one.name.upper()
        yield (upper if upper in UNPREFIXED else PREFIX + upper), one, KINDS[types[one.name]]


def _unknown(environ: Mapping[str, str]) -> list[str]:
    known = {name.removeprefix(PREFIX): name for name, _, _ in _all()}
    faults = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS.union(known.values()):
            near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
            hint = f"; did you mean {known[near[0]]}?" if near else ""
            faults.append(f"{name} is no setting{hint}")
    return faults


def _clashes(settings: Settings) -> list[str]:
    """Find settings that are right alone and wrong together."""
    faults = []
    if settings.duplicate_window_s > settings.stream_max_age_days * _DAY_S:
        faults.append("HOOKLINE_DUPLICATE_WINDOW_S must not exceed HOOKLINE_STREAM_MAX_AGE_DAYS")
    if bool(settings.smtp_url) is not bool(settings.mail_from):
        faults.append("HOOKLINE_SMTP_URL and HOOKLINE_MAIL_FROM must be set together")
    if settings.jwt_secret is not None:
        try:
            read_rules(settings.jwt_algorithm, settings.jwt_secret.reveal())
        except ValueError as error:
            faults.append(f"HOOKLINE_JWT_SECRET must be {error}")
    return faults


def _read(name: str, kind: Kind, text: str, about: _About) -> object:
    """Read one value and hold it to its bounds.

    Raises:
        ValueError: Worded to follow "must be".
    """
    value = kind.read(text.strip())
    if about.one_of and value not in about.one_of:
        raise ValueError(" or ".join(about.one_of))
    if name == "HOOKLINE_RETRY_SCHEDULE" and len(value) >= MAX_ATTEMPTS:
        raise ValueError(f"at most {MAX_ATTEMPTS - 1} waits")
    if name in _SECRET_ADDRESSES:
        _SECRET_ADDRESSES[name](value.reveal())
    if name in _TEXTS:
        value = _TEXTS[name](value)
    if name in _SCHEMES:
        _check_scheme(value, _SCHEMES[name])
    for number in value if isinstance(value, tuple) else (value,):
        _check_range(number, about)
    return value


def _read_base(text: str) -> str:
    """Read where paths are put behind; gives it without a slash at its end.

    Raises:
        ValueError: It is no such address.
    """
    parsed = urlsplit(text)
    if parsed.scheme not in {"http", "https"} or not parsed.hostname or parsed.query:
        raise ValueError("an address such as https://hooks.example.com")
    return text.rstrip("/")


def _check_scheme(value: Secret, schemes: tuple[str, ...]) -> None:
    if not value.reveal().startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise ValueError(f"an address that begins with {schemes[0]}://")


def _check_range(number: float, about: _About) -> None:
    if about.low is not None and number < about.low:
        raise ValueError(f"{about.low:,} or more".replace(",", ""))
    if about.high is not None and number > about.high:
        raise ValueError(f"{about.high:,} or less".replace(",", ""))


# What else is read of a value: whatever it gives is kept of a text, and only checked of a secret.
_TEXTS: Final[Mapping[str, Callable[[str], str]]] = {
    "HOOKLINE_PUBLIC_URL": _read_base,
    "HOOKLINE_MAIL_FROM": read_sender,
}
_SECRET_ADDRESSES: Final[Mapping[str, Callable[[str], object]]] = {
    "HOOKLINE_EGRESS_PROXY": read_proxy,
    "HOOKLINE_SMTP_URL": read_server,
}
