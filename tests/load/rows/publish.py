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
# With keys? A machine is now faster, now slower, by more than what keys cost.
_TURNS: Final = (False, True, True, False, True, False, False, True) * 2
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
        without, keyed = await _both(site, app_id, scale.posts)
        bulk = await _by_http(site, app_id, scale.batched, each=_BULK)
        for figure in (
            *_figures("HTTP, single", without, _SINGLE_RATE),
            *_figures("HTTP, single, idempotency keys", keyed, _AS_WITHOUT, without),
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


async def _both(site: Site, app_id: str, number: int) -> tuple[_Came, _Came]:
    """Publish so many without idempotency keys and as many with them, in turns."""
    came = {False: list[_Came](), True: list[_Came]()}
    each = number * 2 // len(_TURNS)
    for keyed in _TURNS:
        came[keyed].append(await _by_http(site, app_id, each, keyed=keyed))
    return _whole(came[False]), _whole(came[True])


def _whole(pieces: Sequence[_Came]) -> _Came:
    """Put pieces of the same number together."""
    number = len(pieces)
    return _Came(
        number / sum(1 / piece.per_s for piece in pieces),
        sum(piece.gateway_us for piece in pieces) / number,
        sum(piece.nats_us for piece in pieces) / number,
    )


def _figures(name: str, came: _Came, held_to: Bound, like: _Came | None = None) -> list[Figure]:
    per_s, gateway_us, nats_us = like or (None, None, None)
    return [
        Figure(name=name, value=came.per_s, unit="/s", baseline=per_s, held_to=held_to),
        Figure(
            name=f"{name}: CPU each, gateway",
            value=came.gateway_us,
            unit="us",
            baseline=gateway_us,
        ),
        Figure(name=f"{name}: CPU each, nats", value=came.nats_us, unit="us", baseline=nats_us),
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
