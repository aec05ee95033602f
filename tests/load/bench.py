"""How fast and how fair Hookline is on this machine, beside bare loops that post the same bodies.

    scripts/bench [--scale quick|full] [--rows a,b,e] [--json FILE]

docs/performance.md says what each row means.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from tests.load.payload import BODY_BYTES
from tests.load.rows import (
    backlog,
    bare,
    deliver,
    https,
    latency,
    letters,
    neighbour,
    pages,
    publish,
    punctual,
)
from tests.load.scale import SCALES
from tests.load.site import Run
from tests.load.table import Figure, Section, as_json, as_text
from tests.load.waiting import reasons

_INTERRUPTED: Final = 130
_BARE: Final = "-"  # the baselines are no row to be chosen


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the bench: what it is called, and what measures it."""

    title: str
    measure: Callable[[Run], AsyncGenerator[Figure]]


ROWS: Final = {
    "a": Row("publishing, no dispatcher running", publish.measure),
    "b": Row("deliveries end to end, one endpoint", deliver.one_endpoint),
    "c": Row("fan-out to ten endpoints", deliver.fan_out),
    "d": Row("deliveries by HTTPS; the baseline is stock httpx by HTTPS", https.measure),
    "e": Row("publish to first byte; the baseline posts straight", latency.measure),
    "f": Row(
        "a victim at 20 events/s and its neighbours; the baseline is quiet", neighbour.measure
    ),
    "g": Row("retries, against when they were due", punctual.retries),
    "r": Row("the pace of a limited endpoint", punctual.pace),
    "h": Row("a backlog owed to a dead endpoint", backlog.measure),
    "i": Row("pages of the log; the baseline is the health check", pages.measure),
    "k": Row("dead letters: pages, and what redelivers them", letters.measure),
    "j": Row("one and two dispatchers; the baseline of two is one", deliver.two_dispatchers),
}


async def measure(given: argparse.Namespace) -> list[Section]:
    """Run the bare loops, then the rows, one after the other; a row that fails loses no other."""
    scale = SCALES[given.scale]
    say("bare loops")
    stock, ours = await bare.measure(scale)
    sections = [
        Section(row=_BARE, title="bare loops, the baselines", figures=bare.figures(stock, ours))
    ]
    with tempfile.TemporaryDirectory(prefix="hookline-bench-") as directory:
        run = Run(scale=scale, directory=Path(directory), stock=stock, ours=ours)
        for letter in given.rows:
            say(f"({letter}) {ROWS[letter].title}")
            sections.append(await _section(letter, run))
    return sections


async def _section(letter: str, run: Run) -> Section:
    row, started_s = ROWS[letter], time.perf_counter()
    figures, error = list[Figure](), None
    try:
        async with aclosing(row.measure(run)) as measured:
            async for figure in measured:
                figures.append(figure)
    except Exception as failure:  # noqa: BLE001 - the other rows are measured all the same
        error = "; ".join(reasons(failure))
        say(f"({letter}) failed: {error}")
    took_s = time.perf_counter() - started_s
    return Section(row=letter, title=row.title, figures=figures, error=error, took_s=took_s)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the bench and print its table; 1 if a row could not be measured."""
    given = _parser().parse_args(arguments)
    started_s = time.perf_counter()
    try:
        sections = uvloop.run(measure(given))
    except KeyboardInterrupt:
        return _INTERRUPTED
    about = _about(given.scale)
    print(f"{as_text(sections)}\n\n{about}; {time.perf_counter() - started_s:.0f} s")
    if given.json:
        kept = {"about": about, "at": time.time(), "rows": as_json(sections)}
        given.json.write_text(json.dumps(kept, indent=1) + "\n")
    return int(any(section.error for section in sections))


def say(word: str) -> None:
    """Tell how far it is, apart from the table."""
    print(f"bench: {word}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench",
        description="Measure this Hookline.",
        epilog="\n".join(f"  {letter}  {row.title}" for letter, row in ROWS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scale",
        choices=list(SCALES),
        default="quick",
        help="how large: tiny says only whether every row works",
    )
    parser.add_argument(
        "--rows", type=_rows, default=list(ROWS), metavar="a,b,e", help="which; all by default"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures there")
    return parser


def _rows(text: str) -> list[str]:
    wanted = [letter.strip() for letter in text.split(",")]
    strange = [letter for letter in wanted if letter not in ROWS]
    if strange:
        raise argparse.ArgumentTypeError(f"no row {', '.join(strange)}")
    return wanted


def _about(scale: str) -> str:
    return (
        f"{scale} scale, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" bodies of {BODY_BYTES} bytes"
    )


if __name__ == "__main__":
    sys.exit(main())
