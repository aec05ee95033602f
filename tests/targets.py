"""An endpoint as dispatchers know it; tests replace what matters to them."""

from dispatcher.match import Target
from schema.endpoint import EndpointState
from schema.retry import RetryPolicy

TARGET = Target(
    app_id="app",
    id="ep",
    shard=0,
    state=EndpointState.ACTIVE,
    url_text="http://receiver/",
    url=None,
    head=b"",
    signer=None,
    event_types=None,
    channels=None,
    retry_policy=RetryPolicy(waits_s=()),
    type_policies={},
    throttle_rate=None,
    ordered=False,
)
