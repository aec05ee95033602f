"""What a command shows: tables and sentences for a person, or JSON for a program.

With `--json` stdout has one JSON document and nothing else; what a person reads meanwhile goes to
stderr. Colour is rich's affair, which heeds NO_COLOR.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

import orjson
from rich.console import Console, RenderableType
from rich.text import Text

from deploy.client.table import Column, table
from deploy.client.words import plain

_BROAD: Final = 500  # where nobody looks, nothing is cut


class Screen:
    """Stdout and stderr of a command."""

    def __init__(self, *, as_json: bool) -> None:
        """Look at what stdout and stderr are."""
        self.as_json = as_json
        self.console = _console(stderr=as_json)

    @property
    def asks(self) -> bool:
        """Whether somebody sits there who can answer."""
        return sys.stdin.isatty() and self.console.is_terminal

    def give(self, data: object) -> None:
        """Print the JSON of a command."""
        print(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())

    def say(self, line: str, style: str = "") -> None:
        """Print a sentence."""
        self.show(Text(plain(line), style=style))

    def show(self, what: RenderableType) -> None:
        """Print something of rich's."""
        self.console.print(what, soft_wrap=True)

    def rows(self, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> None:
        """Print a table."""
        self.show(table(columns, rows, width=self.console.width))

    def agrees(self, question: str, *, word: str = "y") -> bool:
        """Ask somebody; only `word` is yes."""
        self.console.print(Text(f"{question} "), end="", soft_wrap=True)
        try:
            answer = input()
        except EOFError:
            self.console.print()
            return False
        return answer.strip().lower() == word


def _console(*, stderr: bool) -> Console:
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _BROAD
    return console
