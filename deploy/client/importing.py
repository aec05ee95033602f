"""`hookline import svix`: copies apps, endpoints and event types, and reports what became of them.

It may be broken off and run again at any time; what it knows stands in the two servers.
"""

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from threading import Event
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.client import svix
from deploy.client.api import Address, Api
from deploy.client.copy_target import Deed, Target
from deploy.client.copying import Copying, Entry
from deploy.client.desk import Desk
from deploy.client.table import Column
from deploy.faults import StartFault
from deploy.values import Secret

_PATIENCE_S: Final = 300.0  # with servers that limit rates, or restart
_MOST_AT_ONCE: Final = 32
_MOST_SHOWN: Final = 50
_INTERRUPTED: Final = 130
_KINDS: Final = ("event type", "app", "endpoint")
_COLUMNS: Final = (
    Column(title="", least=11, rank=1),
    *(Column(title=deed.upper(), least=7, rank=1, right=True) for deed in Deed),
)


def import_svix(desk: Desk, given: argparse.Namespace) -> int:
    """Copy from Svix into Hookline.

    Raises:
        StartFault: Nothing says where Svix is.
    """
    if not 1 <= given.at_once <= _MOST_AT_ONCE:
        raise StartFault(f"--at-once must be 1 to {_MOST_AT_ONCE}")
    with Api.at(_source(given), patience_s=0) as source:
        source.get("/app", {"limit": 1})  # what is wrong with address or key shows at once
        desk.api.get("/app", {"limit": 1})
        enough = Event()
        target = Target(desk.api.patient(_PATIENCE_S, enough), dry_run=given.dry_run)
        copying = Copying(source.patient(_PATIENCE_S, enough), target)
        entries: list[Entry] = []
        try:
            _copy(desk, copying, _Crew(given.at_once, enough), entries.append)
        except KeyboardInterrupt:
            desk.screen.say("broken off; run it again and it goes on")
            return _INTERRUPTED
    _report(desk, entries, dry_run=given.dry_run)
    return 1 if any(entry.deed is Deed.FAILED for entry in entries) else 0


def _source(given: argparse.Namespace) -> Address:
    url = given.from_url or os.environ.get("SVIX_SERVER_URL")
    key = given.from_key or os.environ.get("SVIX_AUTH_TOKEN")
    if not url or not key:
        raise StartFault(
            "where is Svix? Give --from-url and --from-key, or SVIX_SERVER_URL and SVIX_AUTH_TOKEN"
        )
    return Address(url=url.rstrip("/"), key=Secret(key))


def _copy(desk: Desk, copying: Copying, crew: "_Crew", tell: Callable[[Entry], None]) -> None:
    """Copy all there is: event types, which endpoints name, then apps, several at a time."""
    with _bar(desk) as bar:
        row = bar.add_task("event types", total=None)
        for entry in copying.event_types():
            tell(entry)
            bar.advance(row)
        apps = copying.apps(desk.apps)
        bar.reset(row, description="apps", total=len(apps))
        for entries in crew.copy(copying, apps):
            for entry in entries:
                tell(entry)
            bar.advance(row)
        for entry in copying.archive():
            tell(entry)


class _Crew:
    """Threads that copy apps with their endpoints; the first that cannot go on ends it for all."""

    def __init__(self, threads: int, enough: Event) -> None:
        self._threads, self._enough = threads, enough

    def copy(self, copying: Copying, apps: Sequence[svix.Thing]) -> Iterator[list[Entry]]:
        with ThreadPoolExecutor(max_workers=self._threads) as pool:
            try:
                under_way = [pool.submit(lambda app: list(copying.app(app)), app) for app in apps]
                for done in as_completed(under_way):
                    yield done.result()
            except BaseException:
                self._enough.set()  # nobody waits for a busy server any more
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextmanager
def _bar(desk: Desk) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = desk.screen.console
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield bar


def _report(desk: Desk, entries: Sequence[Entry], *, dry_run: bool) -> None:
    """Say what became of everything."""
    counts = Counter((entry.kind, entry.deed) for entry in entries)
    if desk.screen.as_json:
        shown = {kind: {deed.value: counts[kind, deed] for deed in Deed} for kind in _KINDS}
        told = [entry.to_json() for entry in entries]
        desk.screen.give({"dryRun": dry_run, "counts": shown, "entries": told})
        return
    if dry_run:
        desk.screen.say("nothing was done; this is what would be", "bold")
    desk.screen.rows(
        _COLUMNS, [[f"{kind}s", *(f"{counts[kind, deed]:,}" for deed in Deed)] for kind in _KINDS]
    )
    lost = [f"{entry.name}: {line}" for entry in entries for line in entry.lost]
    _list(desk, "not kept", lost)
    _list(desk, "failed", [f"{e.kind} {e.name}: {e.fault}" for e in entries if e.fault])


def _list(desk: Desk, title: str, lines: Sequence[str]) -> None:
    if not lines:
        return
    desk.screen.say("")
    desk.screen.say(f"{title}:", "bold")
    for line in lines[:_MOST_SHOWN]:
        desk.screen.say(f"  {line}")
    if len(lines) > _MOST_SHOWN:
        desk.screen.say(f"  … and {len(lines) - _MOST_SHOWN} more: --json", "dim")
