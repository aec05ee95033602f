"""What each command of a client is given: the API, the screen, and where in the API it works."""

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from deploy.client.address import find_address
from deploy.client.api import Api, path_of
from deploy.client.screen import Screen
from deploy.clock import now
from deploy.settings import Settings

PATIENCE_S: Final = 5.0  # with an API that says that it is busy
_READER_GONE: Final = 141  # as a shell tells of SIGPIPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """A command at work.

    Attributes:
        api: Hookline.
        screen: What it prints on.
        apps: The apps that it is about, by ids or uids; none are all.
        at: When it began.
    """

    api: Api
    screen: Screen
    apps: tuple[str, ...]
    at: datetime

    @property
    def app(self) -> str | None:
        """The one app, if it is one."""
        return self.apps[0] if len(self.apps) == 1 else None

    def path(self, *parts: str) -> str:
        """Give a path within the one app, or across all of the environment."""
        return path_of(*parts) if self.app is None else path_of("app", self.app, *parts)

    @property
    def flags(self) -> str:
        """What has to be said again to reach the same."""
        return f" --app {self.app}" if self.app is not None else ""


Command = Callable[[Desk, argparse.Namespace], int]


def at_desk(settings: Settings, given: argparse.Namespace, command: Command) -> int:
    """Run a command; give its exit code."""
    address = find_address(settings, given)
    screen = Screen(as_json=given.json)
    with Api.at(address, patience_s=PATIENCE_S) as api:
        desk = Desk(api=api, screen=screen, apps=tuple(given.app or ()), at=now())
        try:
            code = command(desk, given)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return _READER_GONE
    return code
