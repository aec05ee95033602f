"""(a) How fast events are accepted. No dispatcher runs, so this is accepting alone.

By NATS with nats-py; the client's own ceiling is the same client publishing the same into a stream
that is set up alike but maps no subjects. By HTTP on kept connections: 64, in bulk 8.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from deploy.streams import events_stream
from tests.load.installation import Installation, subject
from tests.load.site import Run, Site, opened
from tests.load.table import Bound, Figure, at_least
from tests.services import connected

_PLAIN: Final = "plain"
_PLAIN_BYTES: Final = 768 * 1024 * 1024  # what the server lends beside our own stream
_BATCH: Final = 1_000
_BULK: Final = 500
_CONNECTIONS: Final = {1: 64, _BULK: 8}  # by events of a request
_MOST_S: Final = 600.0
_AT_CEILING: Final = at_least(0.9, of_baseline=True)
_SINGLE_RATE: Final = at_least(4_000)  # events a second
_AS_WITHOUT: Final = at_least(0.95, of_baseline=True)
_BULK_RATE: Final = at_least(20_000)


async def measure(run: Run) -> AsyncGenerator[Figure]:
    """Measure all doors."""
    async with opened(run) as site:
        app_id = await site.here.with_endpoint(site.receiver.url())
        await _make_plain_stream(site.here)
        scale = run.scale
        for name, job, number, how in (
            ("NATS, atomic batches of 1,000", "client_batches", scale.batched, {"size": _BATCH}),
            ("NATS, singly, pipelined", "client_pipelined", scale.singles, {}),
        ):
            per_s, ceiling_per_s = await _by_nats(site, app_id, job, number, **how)
            yield Figure(
                name=name, value=per_s, unit="/s", baseline=ceiling_per_s, held_to=_AT_CEILING
            )
        # What comes later finds another machine; so with keys goes in the middle of without.
        halves = {False: list[_Came](), True: list[_Came]()}
        for keyed in (False, True, True, False):
            halves[keyed].append(await _by_http(site, app_id, scale.posts // 2, keyed=keyed))
        without, keyed_ones = _whole(halves[False]), _whole(halves[True])
        bulk = await _by_http(site, app_id, scale.batched, each=_BULK)
        for figure in (
            *_figures("HTTP, single", without, _SINGLE_RATE),
            *_figures("HTTP, single, idempotency keys", keyed_ones, _AS_WITHOUT, without.per_s),
            *_figures(f"HTTP, bulk of {_BULK}", bulk, _BULK_RATE),
        ):
            yield figure


async def _by_nats(
    site: Site, app_id: str, job: str, number: int, **how: int
) -> tuple[float, float]:
    """Publish to the product's stream and to the plain one, half of it before and half behind."""
    rates = dict[str, list[float]]()
    for root in ("", _PLAIN, _PLAIN, ""):
        name = subject(app_id)
        told = await site.load.ask(
            job,
            most_s=_MOST_S,
            nats_url=site.here.nats_url,
            subject=f"{root}.{name}" if root else name,
            number=number // 2,
            **how,
        )
        rates.setdefault(root, []).append(told["per_s"])
    ours, plain = rates[""], rates[_PLAIN]
    return sum(ours) / len(ours), sum(plain) / len(plain)


class _Came(NamedTuple):
    """What came of publishing by HTTP."""

    per_s: float
    gateway_us: float  # CPU each
    nats_us: float


async def _by_http(
    site: Site, app_id: str, number: int, *, each: int = 1, keyed: bool = False
) -> _Came:
    before_s = site.here.cpu_s()
    told = await site.load.ask(
        "http_publish",
        most_s=_MOST_S,
        url=site.here.url,
        key=site.here.key,
        app_id=app_id,
        number=number,
        connections=_CONNECTIONS[each],
        each=each,
        keyed=keyed,
    )
    after_s = site.here.cpu_s()
    cost_us = {part: (after_s[part] - before_s[part]) / number * 1e6 for part in after_s}
    return _Came(told["per_s"], cost_us["gateway"], cost_us["nats"])


def _whole(halves: Sequence[_Came]) -> _Came:
    """Put halves of the same number together."""
    number = len(halves)
    return _Came(
        number / sum(1 / half.per_s for half in halves),
        sum(half.gateway_us for half in halves) / number,
        sum(half.nats_us for half in halves) / number,
    )


def _figures(name: str, came: _Came, held_to: Bound, baseline: float | None = None) -> list[Figure]:
    return [
        Figure(name=name, value=came.per_s, unit="/s", baseline=baseline, held_to=held_to),
        Figure(name=f"{name}: CPU each, gateway", value=came.gateway_us, unit="us"),
        Figure(name=f"{name}: CPU each, nats", value=came.nats_us, unit="us"),
    ]


async def _make_plain_stream(here: Installation) -> None:
    config = events_stream(
        replace(here.settings, stream_max_bytes=_PLAIN_BYTES),
        shards=here.settings.shards,
        name="PLAIN",
        root=_PLAIN,
    )
    config.subject_transform = None
    async with connected(here.nats_url) as bus:
        await bus.jetstream().add_stream(config)
