"""Follows a task until it has ended, with a bar, or with a line now and then where nobody looks.

Who stops looking stops nothing: a task is done by dispatchers.
"""

import time
from typing import Any, Final

from rich.progress import BarColumn, Progress, TextColumn

from deploy.client import words
from deploy.client.api import Refused, Unreached
from deploy.client.desk import Desk

Task = dict[str, Any]
ENDED: Final = frozenset({"finished", "failed", "cancelled"})
_EVERY_S: Final = 0.25
_LINE_EVERY_S: Final = 15.0
_PATIENCE_S: Final = 120.0  # with an API that is away meanwhile
_WORDS: Final = 76  # cells that stand beside the bar
_LEAST_BAR: Final = 6
_LONGEST_BAR: Final = 30
_AFTER_END_S: Final = 10.0  # for what was sent before a task was cancelled


class Watch:
    """One task, looked at."""

    def __init__(self, desk: Desk, task: Task) -> None:
        """Take a task as it was made."""
        self._desk, self.task = desk, task
        self._path = desk.path("task", task["id"])
        self._said_at = time.monotonic()
        self._ended_at: float | None = None

    def follow(self) -> Task:
        """Wait for its end; give it as it is then.

        Raises:
            Refused, Unreached: The API has been away for too long.
            KeyboardInterrupt: Somebody has seen enough; it goes on.
        """
        with self._bar() as bar:
            row = bar.add_task(**_shown(self.task))
            while not self._is_over():
                time.sleep(_EVERY_S)
                self._look()
                bar.update(row, **_shown(self.task))
                self._tell()
        return self.task

    def _look(self) -> None:
        try:
            self.task = self._desk.api.patient(_PATIENCE_S).get(self._path)
        except (Refused, Unreached):
            self._desk.screen.say("the task goes on all the same")
            raise

    def _is_over(self) -> bool:
        if self.task["state"] not in ENDED:
            return False
        self._ended_at = self._ended_at or time.monotonic()
        return not self.task["open"] or time.monotonic() - self._ended_at > _AFTER_END_S

    def _tell(self) -> None:
        """Print a line, where no bar is shown."""
        at = time.monotonic()
        if self._desk.screen.console.is_terminal or at - self._said_at < _LINE_EVERY_S:
            return
        self._said_at = at
        self._desk.screen.say(summary(self.task))

    def _bar(self) -> Progress:
        console = self._desk.screen.console
        return Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=min(max(console.width - _WORDS, _LEAST_BAR), _LONGEST_BAR)),
            TextColumn("{task.fields[told]}"),  # in one: where it is too long, its end is cut
            console=console,
            disable=not console.is_terminal,
        )


def summary(task: Task) -> str:
    """Say in a line how a task stands."""
    return f"{_state(task)} {_told(task)}"


def _shown(task: Task) -> dict[str, Any]:
    """Give what a bar shows; without a total it only moves."""
    total = None if task["totalAtLeast"] else task["total"]
    return {
        "description": _state(task),
        "completed": over(task),
        "total": total,
        "told": _told(task),
    }


def _state(task: Task) -> str:
    return words.plain(task["state"])


def _told(task: Task) -> str:
    total, percent = task["total"], task["percent"]
    part = words.number(over(task))
    if total is not None:
        part += f"/{words.count(total, at_least=task['totalAtLeast'])}"
    if percent is not None:
        part += f" {percent:.0f}%"
    return " ".join(filter(None, (part, _pace(task), outcome(task))))


def _pace(task: Task) -> str:
    if task["state"] != "running":
        return ""
    per_s, eta_s = task.get("itemsPerSecond"), task.get("etaSeconds")
    pace = "" if per_s is None else f"{per_s:,.1f}/s"
    return pace if eta_s is None else f"{pace}, {words.duration(eta_s)} left"


def outcome(task: Task) -> str:
    """Say what became of the letters."""
    told = [
        f"{words.number(task[name])} {word}"
        for name, word in (
            ("delivered", "delivered"), ("done", "done"), ("failed", "failed"),
            ("skipped", "skipped"), ("open", "on their way"),
        )
        if task[name] or (name == "delivered" and not task["done"])
    ]  # fmt: skip
    return ", ".join(told)


def over(task: Task) -> int:
    """Count the items that have ended."""
    return int(task["items"] - task["open"])
