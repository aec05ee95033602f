"""The dispatcher's limits, handed down by value. Each has a setting (docs/settings.md)."""

from dataclasses import dataclass, field

from dispatcher.egress import Proxy
from dispatcher.mail import MailServer
from schema.address import AddressPolicy
from schema.retry import DEFAULT_WAITS_S, RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherConfig:
    """What a dispatcher may take, hold and send."""

    name: str  # who holds the leases; two that run at once must differ
    stream: str = "EVENTS"
    max_payload_bytes: int = 1_048_576
    retry_policy: RetryPolicy = field(default_factory=lambda: RetryPolicy(waits_s=DEFAULT_WAITS_S))
    retry_jitter: float = 0.1  # waits grow by up to this part
    request_timeout_s: float = 20.0  # for the whole of an attempt
    address_policy: AddressPolicy = field(default_factory=AddressPolicy)
    egress_proxy: Proxy | None = None  # None dials the endpoints themselves
    svix_headers: bool = False  # send svix-id, -timestamp, -signature too
    response_kept_bytes: int = 16_384
    transformation_time_s: float = 0.1  # CPU time of one call
    transformation_memory_bytes: int = 32 * 1_048_576
    transformers: int = 1  # processes for code that is quick, and as many for slow code
    process_in_flight: int = 512
    app_in_flight: int = 128  # a quarter of the process
    endpoint_in_flight: int = 16
    failing_after: int = 10  # failures in a row; from then on an endpoint is only probed
    probe_gap_s: float = 1.0  # doubled with each probe that fails
    probe_gap_most_s: float = 60.0
    lane_depth: int = 256  # deliveries of one endpoint in memory, live and backlog each
    held_bytes: int = 64 * 1_048_576  # payloads in memory, all lanes together
    # Larger batches cost less each, and let everybody else wait for longer.
    intake_batch: int = 64  # events per statement
    flood_rest: float = 1.0  # after a batch of a flood, while others publish; in times of the batch
    settle_batch: int = 128  # deliveries per statement
    settle_gather_s: float = 0.01  # how long outcomes wait for company, but for those in order
    lease_s: float = 10.0
    drain_s: float = 20.0  # after the stop; keep below the orchestrator's kill delay
    retention_days: int = 30
    dead_letter_retention_days: int = 90  # from the last that was done to it
    operational_per_minute: int = 10  # events of a kind about an endpoint; the rest are counted
    attempt_log_s: float = 5.0  # between two logs of attempts that operators are told
    otel_s: float = 5.0  # between two exports of attempts to a collector
    otel_waiting: int = 100_000  # attempts of an environment; the oldest go first
    mail: MailServer | None = None  # None mails nobody
    mail_pause_s: float = 3600.0  # between two mails of a kind about an endpoint
    counted_types: int = 200  # of an app in five minutes; attempts of others are counted together
    alert_update_s: float = 300.0  # between two words about an alert that is raised
    disable_after_days: float = 5.0  # of nothing but failures; 0 disables no endpoint
    disable_warning_days: float = 1.0  # before that
