"""`hookline dlq task`: work on many letters that goes on without anybody looking."""

import argparse
from datetime import datetime
from itertools import islice
from typing import Any, Final

import orjson

from deploy.client import words
from deploy.client.api import MOST_OF_PAGE
from deploy.client.chosen import listed
from deploy.client.desk import Desk
from deploy.client.names import Names
from deploy.client.table import Column
from deploy.client.watching import ENDED, Watch, outcome, over, summary

_INTERRUPTED: Final = 130
_TASKS: Final = (
    Column(title="TASK", least=32, rank=1),
    Column(title="STATE", least=9, rank=2),
    Column(title="WHAT", least=9, rank=3),
    Column(title="MADE", least=4, rank=4, right=True),
    Column(title="OVER", least=6, rank=5, right=True),
    Column(title="OF", least=6, rank=6, right=True),
    Column(title="OUTCOME", least=20, rank=7),
)
_ITEMS: Final = (
    Column(title="LETTER", least=30, rank=1),
    Column(title="STATE", least=9, rank=2),
    Column(title="SINCE", least=5, rank=3, right=True),
    Column(title="DETAIL", least=20, rank=4),
    Column(title="ENDPOINT", least=30, rank=5),
)


def list_(desk: Desk, given: argparse.Namespace) -> int:
    """List tasks."""
    query = {"state": listed(given.state), "kind": listed(given.kind)}
    found = _taken(desk, desk.path("task"), query, given.limit)
    if desk.screen.as_json:
        desk.screen.give({"data": found})
    elif not found:
        desk.screen.say("no tasks")
    else:
        desk.screen.rows(_TASKS, [_row(task, desk.at) for task in found])
    return 0


def show(desk: Desk, given: argparse.Namespace) -> int:
    """Show a task."""
    task = _found(desk, given)
    if desk.screen.as_json:
        desk.screen.give(task)
    else:
        describe(desk, task)
    return 0


def items(desk: Desk, given: argparse.Namespace) -> int:
    """List what became of each letter."""
    query = {"state": listed(given.state)}
    found = _taken(desk, desk.path("task", given.task, "item"), query, given.limit)
    if desk.screen.as_json:
        desk.screen.give({"data": found})
    elif not found:
        desk.screen.say("none")
    else:
        names = Names(desk.api)
        desk.screen.rows(_ITEMS, [_item_row(item, names, desk.at) for item in found])
    return 0


def watch(desk: Desk, given: argparse.Namespace) -> int:
    """Follow a task until it ends."""
    return follow(desk, _found(desk, given))


def pause(desk: Desk, given: argparse.Namespace) -> int:
    """Have a task choose no more."""
    return _move(desk, given, "pause")


def resume(desk: Desk, given: argparse.Namespace) -> int:
    """Have a task go on."""
    return _move(desk, given, "resume")


def cancel(desk: Desk, given: argparse.Namespace) -> int:
    """End a task."""
    return _move(desk, given, "cancel")


def follow(desk: Desk, task: dict[str, Any]) -> int:
    """Follow a task, and say what came of it; whoever leaves early is told how to come back."""
    watching = Watch(desk, task)
    try:
        ended = watching.follow()
    except KeyboardInterrupt:
        how_to_return(desk, task["id"])
        return _INTERRUPTED
    if desk.screen.as_json:
        desk.screen.give(ended)
    else:
        _tell_end(desk, ended)
    return 0 if ended["state"] == "finished" and not ended["failed"] else 1


def how_to_return(desk: Desk, task_id: str) -> None:
    """Say that a task goes on, and how to watch or end it."""
    desk.screen.say(f"{task_id} goes on without us:")
    for word in ("watch", "cancel"):
        desk.screen.say(f"  hookline dlq task {word} {task_id}{desk.flags}")


def describe(desk: Desk, task: dict[str, Any]) -> None:
    """Say all of a task that a person may want to know."""
    say = desk.screen.say
    say(f"{task['id']}, {task['kind']}: {summary(task)}")
    if task["why"]:
        say(f"why       {task['why']}")
    say(f"made      {words.when(task['createdAt'], desk.at)} by {task['createdBy']}")
    for word, name in (("starts", "startAt"), ("started", "startedAt"), ("ended", "endedAt")):
        if task[name]:
            say(f"{word:<9} {words.when(task[name], desk.at)}")
    for name, value in task["plan"].items():
        say(f"{name:<9} {orjson.dumps(value).decode()}")
    _tell_stopped(desk, task)


def _tell_end(desk: Desk, task: dict[str, Any]) -> None:
    desk.screen.say(f"{task['state']}: {outcome(task)}", "bold")
    if task["why"]:
        desk.screen.say(f"why: {task['why']}")
    _tell_stopped(desk, task)
    for state in ("failed", "skipped"):
        if task[state]:
            hint = f"hookline dlq task items {task['id']} --state {state}{desk.flags}"
            desk.screen.say(f"what {'failed' if state == 'failed' else 'was skipped'}: {hint}")


def _tell_stopped(desk: Desk, task: dict[str, Any]) -> None:
    names = Names(desk.api)
    for part in task["stoppedAt"]:
        where = names.endpoint(part["appId"], part["endpointId"])
        desk.screen.say(
            f"stopped at {where}: {part['why']}, {part['missed']} of {part['tried']} failed"
        )


def _move(desk: Desk, given: argparse.Namespace, word: str) -> int:
    task = desk.api.call("POST", desk.path("task", given.task, word))
    if desk.screen.as_json:
        desk.screen.give(task)
    else:
        desk.screen.say(f"{task['id']}: {summary(task)}")
        if task["state"] not in ENDED:
            desk.screen.say(f"watch it: hookline dlq task watch {task['id']}{desk.flags}", "dim")
    return 0


def _found(desk: Desk, given: argparse.Namespace) -> dict[str, Any]:
    task: dict[str, Any] = desk.api.get(desk.path("task", given.task))
    return task


def _taken(desk: Desk, path: str, query: dict[str, Any], most: int) -> list[dict[str, Any]]:
    pages = desk.api.pages(path, {"limit": min(most, MOST_OF_PAGE), **query})
    return list(islice((item for page in pages for item in page), most))


def _row(task: dict[str, Any], at: datetime) -> list[object]:
    total = task["total"]
    return [
        task["id"],
        task["state"],
        task["kind"].removeprefix("dead_letter."),
        words.age(task["createdAt"], at),
        words.number(over(task)),
        "-" if total is None else words.count(total, at_least=task["totalAtLeast"]),
        outcome(task),
    ]


def _item_row(item: dict[str, Any], names: Names, at: datetime) -> list[object]:
    return [
        item["letterId"] or item["messageId"],
        item["state"],
        words.age(item["at"], at),
        item["detail"] or "",
        names.endpoint(item["appId"], item["endpointId"]),
    ]
