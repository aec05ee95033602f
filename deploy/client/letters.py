"""`hookline dlq list`, `show`, `count`, `groups`: what is dead, and of what it died."""

import argparse
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Final

from rich.text import Text

from deploy.client import group_state, words
from deploy.client.api import MOST_OF_PAGE, path_of
from deploy.client.chosen import filter_of, listed
from deploy.client.desk import Desk
from deploy.client.names import Names
from deploy.client.table import Column
from deploy.faults import StartFault

Letter = dict[str, Any]
_ID: Final = 30  # `dl_` and 27 characters
_LETTERS: Final = (
    Column(title="LETTER", least=_ID, rank=1),
    Column(title="PARKED", least=6, rank=2, right=True),
    Column(title="FAILED OF", least=12, rank=3),
    Column(title="STATE", least=12, rank=4),
    Column(title="EVENT TYPE", least=12, rank=5),
    Column(title="TRIES", least=5, rank=6, right=True),
    Column(title="SIZE", least=7, rank=9, right=True),
    Column(title="URL", least=20, rank=7),
    Column(title="APP", least=31, rank=8),
)
_GROUPS: Final = (
    Column(title="GROUP", least=36, rank=1),
    Column(title="PARKED", least=6, rank=2, right=True),
    Column(title="LAST", least=4, rank=3, right=True),
    Column(title="FAILED OF", least=12, rank=4),
    Column(title="STATE", least=5, rank=6),
    Column(title="24 HOURS", least=24, rank=8),
    Column(title="ENDPOINT", least=20, rank=5),
    Column(title="SAID", least=16, rank=7),
)


def list_(desk: Desk, given: argparse.Namespace) -> int:
    """List letters."""
    query = filter_of(given, desk.apps, desk.at)
    if given.oldest_first:
        query["order"] = "ascending"
    found, done = _taken(desk, desk.path("dead-letter"), query, given.limit)
    if desk.screen.as_json:
        desk.screen.give({"data": found, "done": done})
        return 0
    if not found:
        desk.screen.say("no dead letters" + ("" if "state" in query else " are parked"))
        return 0
    mixed = any(letter["state"] != "parked" for letter in found)
    desk.screen.rows(_LETTERS, [_row(letter, desk.at, mixed=mixed) for letter in found])
    if not done:
        desk.screen.say(f"… and more: these are {len(found)}, --limit shows others", "dim")
    return 0


def count(desk: Desk, given: argparse.Namespace) -> int:
    """Count letters."""
    query = filter_of(given, desk.apps, desk.at)
    found = desk.api.get(desk.path("dead-letter", "count"), query)
    if desk.screen.as_json:
        desk.screen.give(found)
    else:
        desk.screen.say(words.count(found["count"], at_least=found["atLeast"]))
    return 0


def groups(desk: Desk, given: argparse.Namespace) -> int:
    """List the groups of letters that failed alike, the largest first; or say where some stand."""
    if given.groups or given.to or given.snooze or given.reason:
        return group_state.move(desk, given)
    query: dict[str, Any] = {
        "state": listed(given.state) or ["open", "acknowledged", "snoozed"],
        "endpoint_id": listed(given.endpoint),
        "error_class": listed(given.error_class),
        "order_by": "lastSeen" if given.by_time else "count",
        "app_id": list(desk.apps) if len(desk.apps) > 1 else None,
    }
    found, done = _taken(desk, desk.path("dead-letter-group"), query, given.limit)
    if desk.screen.as_json:
        desk.screen.give({"data": found, "done": done})
        return 0
    if not found:
        desk.screen.say("no groups of dead letters")
        return 0
    names = Names(desk.api)
    desk.screen.rows(_GROUPS, [_group_row(group, names, desk.at) for group in found])
    desk.screen.say("… and more: --limit" if not done else _FOR_MORE, "dim")
    return 0


def show(desk: Desk, given: argparse.Namespace) -> int:
    """Show one letter, whole."""
    app = desk.app or app_of(desk, given.letter)
    letter = desk.api.get(path_of("app", app, "dead-letter", given.letter))
    if desk.screen.as_json:
        desk.screen.give(letter)
        return 0
    names = Names(desk.api)
    for name, value in _facts(letter, names, desk.at):
        desk.screen.show(Text(f"{name:<13}", "bold").append(words.plain(value), "default"))
    for title, body in (("payload", letter["payload"]), ("answer", letter["response"])):
        desk.screen.say("")
        desk.screen.say(title, "bold")
        desk.screen.show(Text(words.document(body)))
    return 0


def app_of(desk: Desk, letter_id: str) -> str:
    """Find out which app has a letter: the dry run of a redelivery knows.

    Raises:
        StartFault: There is no such letter.
    """
    body = {"letterIds": [letter_id], "dryRun": True}
    found = desk.api.call("POST", path_of("dead-letter", "redeliver"), body, repeatable=True)
    for line in found["endpoints"]:
        return str(line["appId"])
    raise StartFault(f"there is no letter {letter_id}")


_FOR_MORE: Final = "`hookline dlq list --group ID` lists the letters of one"


def _taken(desk: Desk, path: str, query: dict[str, Any], most: int) -> tuple[list[Letter], bool]:
    """Take so many of a list, and say whether these are all."""
    pages = desk.api.pages(path, {"limit": min(most + 1, MOST_OF_PAGE), **query})
    found = list(islice(_items(pages), most + 1))
    return found[:most], len(found) <= most


def _items(pages: Iterator[list[Letter]]) -> Iterator[Letter]:
    for page in pages:
        yield from page


def _row(letter: Letter, at: datetime, *, mixed: bool) -> list[object]:
    return [
        letter["id"],
        words.age(letter["parkedAt"], at),
        words.failure(letter),
        letter["state"] if mixed else "",
        letter["eventType"],
        letter["attempts"],
        words.size(letter["payloadBytes"]),
        letter["url"],
        letter["appId"],
    ]


def _group_row(group: dict[str, Any], names: Names, at: datetime) -> list[object]:
    return [
        group["id"],
        words.number(group["parked"]),
        words.age(group["lastSeenAt"], at),
        words.failure(group),
        group["state"],
        words.trend(group["trend"]),
        names.endpoint(group["appId"], group["endpointId"]),
        group["sampleDetail"] or group["sampleResponse"] or "",
    ]


def _facts(letter: Letter, names: Names, at: datetime) -> Iterator[tuple[str, object]]:
    """Give what is said of a letter, line by line."""
    endpoint = names.endpoint(letter["appId"], letter["endpointId"])
    headers = letter["headers"] or {}
    yield "letter", f"{letter['id']}, {letter['state']}"
    yield "app", f"{names.app(letter['appId'])} ({letter['appId']})"
    yield "endpoint", f"{endpoint} ({letter['endpointId']})"
    if endpoint != letter["url"]:
        yield "sent to", letter["url"]
    yield "message", f"{letter['messageId']}, {letter['eventType']}"
    if letter["eventId"]:
        yield "event id", letter["eventId"]
    if letter["channels"]:
        yield "channels", ", ".join(letter["channels"])
    yield "given up", f"{letter['reason']}, after {words.plural(letter['attempts'], 'attempt')}"
    yield "failed of", f"{words.failure(letter)} {letter['detail']}".rstrip()
    yield "group", letter["groupId"]
    yield "accepted", words.when(letter["messageAt"], at)
    yield "last attempt", words.when(letter["lastAttemptAt"], at)
    yield "parked", words.when(letter["parkedAt"], at)
    for name, value in headers.get("headers", {}).items():
        yield "header", f"{name}: {value}"
    for name in headers.get("sensitive", ()):
        yield "header", f"{name}: (not shown)"
    yield "size", f"{words.size(letter['payloadBytes'])}, {letter['contentType']}"
