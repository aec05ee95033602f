"""What a gateway is told when it starts. Read from the environment by deploy alone."""

from dataclasses import dataclass
from typing import Final

from gateway.svix_token import TokenRules
from schema import event
from schema.address import AddressPolicy, Network

_ENVELOPE_BYTES: Final = 65_536  # of a request around its payload


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayConfig:
    """The settings of one gateway process.

    Attributes:
        shards: As many as the installation was made with.
        allowed_networks: Private networks that endpoints may be in all the same.
        key_cache_s: How long a key or app that was looked up is believed without a look at the
            database, while notifications arrive. Changes are heard of at once.
        app_events_per_s: Events that an app may publish in a second, through one process; 0 is any.
        app_backlog: Deliveries that an app may be owed before its events are refused; 0 is any.
        public_url: Where people reach gateway and console, without a slash at its end; empty is
            where a request says that it came to.
        tokens: What Svix's tokens are signed with; None takes none.
        test_wait_s: How long a request waits for the attempt of a test: as long as one may take,
            and some seconds.
        poll_margin_s: How long a publication may take from its id to the stream; whoever polls
            sees messages that much later, and misses none.
        svix_headers: Whether dispatchers send the `svix-*` header names as well.
        mails: Whether dispatchers can send mails to apps.
        deaf_cache_s: The same while the connection for notifications is down.
    """

    shards: int = 64
    stream: str = event.STREAM
    max_payload_bytes: int = 1_048_576
    max_bulk_bytes: int = 16_777_216  # of the body of a bulk request
    app_events_per_s: int = 0
    app_backlog: int = 1_000_000
    public_url: str = ""
    tokens: TokenRules | None = None
    poll_margin_s: float = 10.0
    test_wait_s: float = 25.0
    tests: int = 64  # that may wait in this process
    app_tests: int = 4  # of these, of one app
    https_only: bool = False
    allowed_networks: tuple[Network, ...] = ()
    allow_ip_literals: bool = False
    svix_headers: bool = False
    mails: bool = False
    transformation_time_s: float = 0.1  # CPU time of one run of an endpoint's code
    transformation_memory_bytes: int = 32 * 1_048_576
    key_cache_s: float = 60.0
    deaf_cache_s: float = 0.5
    cached_keys: int = 10_000
    cached_apps: int = 50_000
    acquire_s: float = 5.0  # how long a request waits for a connection to Postgres
    disable_after_days: float = 5.0  # of nothing but failures; 0 disables no endpoint
    disable_warning_days: float = 1.0  # before that

    @property
    def max_body_bytes(self) -> int:
        """Say how large a request's body may be: the payload and what stands around it."""
        return self.max_payload_bytes + _ENVELOPE_BYTES

    @property
    def address_policy(self) -> AddressPolicy:
        """Say which URLs endpoints may have."""
        return AddressPolicy(
            allowed_networks=self.allowed_networks,
            https_only=self.https_only,
            allow_ip_literals=self.allow_ip_literals,
        )
