"""Tables that fit: what is least important goes first when a terminal is narrow.

A column has its least width at least, or is not shown at all, as one without content; what does
not fit is cut, with `…`. A column whose content is not longer than `least`, as ids, is never cut.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from deploy.client.words import plain

_GAP: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. Of two that do not fit both, the one of the larger `rank` goes.

    Attributes:
        least: Cells that it needs to be of use, or fewer if its content is shorter.
    """

    title: str
    least: int
    rank: int
    right: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[object]], *, width: int) -> Text:
    """Lay rows out in so many cells."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = allot(columns, [_natural(c, at, cells) for at, c in enumerate(columns)], room=width)
    text = Text(no_wrap=True, overflow="crop")
    text.append(_line([c.title for c in columns], columns, widths), style="bold")
    for row in cells:
        text.append("\n" + _line(row, columns, widths))
    return text


def allot(columns: Sequence[Column], natural: Sequence[int], *, room: int) -> list[int]:
    """Give each column its width; 0 is not shown.

    Args:
        columns: The columns.
        natural: What each would need.
        room: Cells there are.
    """
    widths = [0] * len(columns)
    left = room + _GAP
    by_rank = sorted(range(len(columns)), key=lambda at: columns[at].rank)
    for at in by_rank:
        needed = min(columns[at].least, natural[at])
        if natural[at] and left >= needed + _GAP:
            widths[at], left = needed, left - needed - _GAP
    for at in by_rank:
        more = min(natural[at] - widths[at], left) if widths[at] else 0
        widths[at], left = widths[at] + more, left - more
    return widths


def _natural(column: Column, at: int, cells: Sequence[Sequence[str]]) -> int:
    longest = max((cell_len(row[at]) for row in cells), default=0)
    return max(longest, cell_len(column.title)) if longest else 0


def _line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    shown = [
        _fitted(cell, width, right=column.right)
        for cell, column, width in zip(cells, columns, widths, strict=True)
        if width
    ]
    return (" " * _GAP).join(shown).rstrip()


def _fitted(cell: str, width: int, *, right: bool) -> str:
    if cell_len(cell) > width:
        return set_cell_size(cell, width - 1) + "…"
    padding = " " * (width - cell_len(cell))
    return padding + cell if right else cell + padding
