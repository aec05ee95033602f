"""`hookline dlq redeliver`, `discard`, `purge`: says what would be done, asks, does it, watches.

What is done is a task under a job id of this command's own, so a request whose answer got lost may
be sent again and is one task.
"""

import argparse
import uuid
from typing import Any, Final

from deploy.client import words
from deploy.client.chosen import ahead, filter_of
from deploy.client.desk import Desk
from deploy.client.names import MOST, Names
from deploy.client.table import Column
from deploy.client.task import follow, how_to_return
from deploy.faults import StartFault

_SLOW_S: Final = 60.0  # a dry run or the making of a task, while the API is busy
_ENDPOINTS: Final = (
    Column(title="LETTERS", least=7, rank=1, right=True),
    Column(title="BLOCKED", least=7, rank=2, right=True),
    Column(title="OLDEST", least=6, rank=4, right=True),
    Column(title="SIZE", least=7, rank=5, right=True),
    Column(title="ENDPOINT", least=24, rank=3),
    Column(title="APP", least=12, rank=6),
)
_BLOCKED: Final = {
    "endpoint_disabled": "the endpoint is disabled: enable it first",
    "endpoint_deleted": "the endpoint was deleted: --to-endpoint sends to another",
    "endpoint_paused": "the endpoint is paused: they wait until it is resumed",
    "missing_payload": "the payload was expunged",
    "redelivering": "on their way already",
    "not_parked": "not parked any more",
}


def redeliver(desk: Desk, given: argparse.Namespace) -> int:
    """Send letters again."""
    sending = {
        "rate": given.rate,
        "concurrency": given.concurrency,
        "probe": given.probe,
        "stopPercent": given.stop_percent,
        "retry": False if given.no_retry else None,
        "toEndpointId": given.to_endpoint,
    }
    if given.to_endpoint and desk.app is None:
        raise StartFault("--to-endpoint goes within one app: give --app")
    return _do(desk, given, "redeliver", sending)


def discard(desk: Desk, given: argparse.Namespace) -> int:
    """Give letters up for good; they are kept until they are old."""
    _want_reason(given)
    return _do(desk, given, "discard", {})


def purge(desk: Desk, given: argparse.Namespace) -> int:
    """Delete letters for good, payload and all."""
    _want_reason(given)
    return _do(desk, given, "purge", {} if given.dry_run else {"confirm": True})


def _want_reason(given: argparse.Namespace) -> None:
    if not given.reason and not given.dry_run:
        raise StartFault("say why, for the audit trail: --reason TEXT")


def _do(desk: Desk, given: argparse.Namespace, word: str, more: dict[str, Any]) -> int:
    query, body = _chosen(desk, given)
    path = desk.path("dead-letter", word)
    body = {name: value for name, value in {**body, **more}.items() if value is not None}
    if not given.dry_run:
        _see_that_one_can_ask(desk, given, word)
    api = desk.api.patient(_SLOW_S)
    if given.dry_run or not (given.yes and desk.screen.as_json):
        preview = api.call("POST", path, {**body, "dryRun": True}, query=query, repeatable=True)
        _show_preview(desk, preview, word)
        if given.dry_run or not preview["count"]:
            if desk.screen.as_json:
                desk.screen.give(preview)
            return 0
        if not (given.yes or _agreed(desk, word)):
            desk.screen.say("nothing was done")
            return 1
    job = given.job_id or f"cli-{uuid.uuid4()}"
    task = api.call("POST", path, {**body, "jobId": job}, query=query, repeatable=True)
    return _attend(desk, given, task)


def _chosen(desk: Desk, given: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the filter in the query, and what goes into the body.

    Raises:
        StartFault: Nothing says which letters, or two things do.
    """
    query = filter_of(given, desk.apps, desk.at)
    if given.letters and (query or given.all):
        raise StartFault("letters by their ids go without a filter")
    if not (given.letters or query or desk.apps or given.all):
        raise StartFault(
            "which letters? Give ids, a filter, --app, or --all for all that are parked"
        )
    body = {
        "letterIds": given.letters or None,
        "reason": given.reason,
        "startAt": ahead("--start-at", given.start_at, desk.at),
        "order": "newest" if given.newest_first else None,
    }
    return query, body


def _see_that_one_can_ask(desk: Desk, given: argparse.Namespace, word: str) -> None:
    if not (given.yes or desk.screen.asks):
        raise StartFault(f"nobody is here to ask: --yes to {word}, --dry-run to look first")


def _agreed(desk: Desk, word: str) -> bool:
    if word == "purge":
        return desk.screen.agrees(
            "Purged letters are gone for good. Type purge to go on:", word=word
        )
    return desk.screen.agrees(f"{word.capitalize()} them? [y/N]")


def _attend(desk: Desk, given: argparse.Namespace, task: dict[str, Any]) -> int:
    """Follow a task, unless it is to start later, or somebody does not want to."""
    if not given.detach and given.start_at is None:
        return follow(desk, task)
    if desk.screen.as_json:
        desk.screen.give(task)
        return 0
    if given.start_at is not None:
        desk.screen.say(f"starts {words.when(task['startAt'], desk.at)}")
    how_to_return(desk, task["id"])
    return 0


def _show_preview(desk: Desk, found: dict[str, Any], word: str) -> None:
    """Say what would be done."""
    screen = desk.screen
    number = words.count(found["count"], at_least=found["atLeast"])
    letters = "dead letter" if found["count"] == 1 else "dead letters"
    if not found["count"]:
        screen.say(f"no dead letters to {word}")
        return
    screen.say(
        f"{number} {letters} to {word}, {words.size(found['bytes'])},"
        f" the oldest parked {words.age(found['oldestAt'], desk.at)} ago",
        "bold",
    )
    names = Names(desk.api)
    shown = found["endpoints"][:MOST]
    screen.rows(_ENDPOINTS, [_line(desk, line, names) for line in shown])
    others = found["endpointCount"] - len(shown)
    if others:
        screen.say(f"… and {words.plural(others, 'endpoint')} more", "dim")
    for why, blocked in found["blocked"].items():
        screen.say(f"{words.number(blocked)} cannot go: {_BLOCKED.get(why, why)}")
    if word == "redeliver" and found["estimatedSeconds"] is not None:
        screen.say(f"takes about {words.duration(found['estimatedSeconds'])}")


def _line(desk: Desk, line: dict[str, Any], names: Names) -> list[object]:
    blocked = sum(line["blocked"].values())
    return [
        words.number(line["count"]),
        words.number(blocked) if blocked else "-",
        words.age(line["oldestAt"], desk.at),
        words.size(line["bytes"]),
        names.endpoint(line["appId"], line["endpointId"]),
        names.app(line["appId"]),
    ]
