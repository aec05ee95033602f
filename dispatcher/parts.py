"""What a dispatcher is given from outside, as one thing that its parts share."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from nats.aio.client import Client

from dispatcher.config import DispatcherConfig
from dispatcher.metrics import Metrics
from schema.store.link import Pool
from signer.vault import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """All that the dispatcher stands on.

    Attributes:
        pool: Postgres.
        bus: NATS.
        vault: Opens secrets at rest.
        clock: Aware UTC.
        dice: Uniform in [0, 1).
        config: Limits.
        metrics: What is counted.
        shards: How many the installation has.
    """

    pool: Pool
    bus: Client
    vault: Vault
    clock: Callable[[], datetime]
    dice: Callable[[], float]
    config: DispatcherConfig
    metrics: Metrics
    shards: int
