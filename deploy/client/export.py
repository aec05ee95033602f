"""`hookline dlq export`: letters as lines of JSON, and whether all of them came."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import orjson
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from deploy.client import words
from deploy.client.api import Unreached
from deploy.client.chosen import filter_of
from deploy.client.desk import Desk
from deploy.client.screen import Screen
from deploy.faults import StartFault

_PART: Final = ".part"  # until the last line has come


def export(desk: Desk, given: argparse.Namespace) -> int:
    """Write letters, the closing line too; an export that was cut off is a failure.

    Raises:
        Unreached: It was cut off.
    """
    query = filter_of(given, desk.apps, desk.at)
    messages = Screen(as_json=True)  # stdout is for the letters
    with _opened(given.output) as file:
        number, last = 0, ""
        try:
            with desk.api.lines(desk.path("dead-letter", "export"), query) as lines:
                for line in _shown(lines, messages):
                    file.write(line + "\n")
                    number, last = number + 1, line
        except Unreached as fault:
            raise Unreached(f"the export was cut off after {number} lines: {fault}") from fault
        number -= 1  # the last line is no letter
        if not _is_complete(last, number):
            raise Unreached(f"the export was cut off after {number + 1} lines")
    where = f" to {given.output}" if given.output else ""
    messages.say(f"exported {words.plural(number, 'letter')}{where}")
    return 0


def _is_complete(line: str, letters: int) -> bool:
    """Tell whether a line closes an export of so many letters."""
    try:
        closing = orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return bool(closing == {"complete": True, "count": letters})


def _shown(lines: Iterator[str], screen: Screen) -> Iterator[str]:
    """Give the lines, and count them where somebody looks."""
    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} letters"), TimeElapsedColumn())
    hidden = not screen.console.is_terminal or sys.stdout.isatty()
    with Progress(*columns, console=screen.console, disable=hidden, transient=True) as progress:
        task = progress.add_task("")
        for line in lines:
            yield line
            progress.advance(task)


@contextmanager
def _opened(path: Path | None) -> Iterator[IO[str]]:
    """Lend stdout, or a file that gets its name when it is complete."""
    if path is None:
        yield sys.stdout
        return
    part = path.with_name(path.name + _PART)
    try:
        with part.open("w", encoding="utf-8") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise StartFault(f"cannot write {path}: {error.strerror}") from error
