"""`hookline dlq groups ID … --acknowledge` and its like: where groups of letters stand."""

import argparse
from typing import Any

from deploy.client import words
from deploy.client.api import Query, path_of
from deploy.client.chosen import ahead
from deploy.client.desk import Desk
from deploy.faults import StartFault


def move(desk: Desk, given: argparse.Namespace) -> int:
    """Say where the groups that are named stand from now on."""
    if given.to is None and given.snooze is None:
        raise StartFault("say what to do: --acknowledge, --snooze TIME, --resolve or --reopen")
    if not given.groups:
        raise StartFault("name the groups to do it with: dlg_...")
    until = ahead("--snooze", given.snooze, desk.at)
    body = {"state": given.to or "snoozed", "snoozedUntil": until, "reason": given.reason}
    body = {name: value for name, value in body.items() if value is not None}
    paths = [_path(desk, group_id) for group_id in given.groups]
    moved = [desk.api.call("PATCH", path, body, repeatable=True) for path in paths]
    if desk.screen.as_json:
        desk.screen.give({"data": moved})
        return 0
    for group in moved:
        desk.screen.say(f"{group['id']} is {_stands(desk, group)}")
    return 0


def _path(desk: Desk, group_id: str) -> str:
    """Give the path of a group; which app it is of, its letters tell.

    Raises:
        StartFault: There is none such.
    """
    app = desk.app
    if app is None:
        query: Query = {"group": [group_id], "state": "all", "limit": 1}
        letters = desk.api.get(path_of("dead-letter"), query)["data"]
        if not letters:
            raise StartFault(f"there is no letter of a group {group_id}")
        app = str(letters[0]["appId"])
    return path_of("app", app, "dead-letter-group", group_id)


def _stands(desk: Desk, group: dict[str, Any]) -> str:
    if group["snoozedUntil"] is None:
        return str(group["state"])
    return f"{group['state']}, until {words.when(group['snoozedUntil'], desk.at)}"
