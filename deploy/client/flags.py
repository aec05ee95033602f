"""The command line of `hookline dlq` and `hookline import`. Reads nothing and imports no library.

A command's own module is imported when it runs: `hookline gateway` loads none of them.
"""

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from deploy.settings import Settings

Run = Callable[[Settings, argparse.Namespace], int]
_TIME: Final = "TIME"


def add_dlq(commands: Any, home: argparse.ArgumentParser) -> None:  # noqa: ANN401 - argparse's own
    """Add `hookline dlq`."""
    parser = commands.add_parser(
        "dlq", help="work through dead letters", epilog="docs/dead-letters.md", allow_abbrev=False
    )
    below = parser.add_subparsers(required=True, metavar="COMMAND")
    reach, filters = _reach(home), _filters()
    for add in (_add_reading, _add_tasks):
        add(below, reach, filters)
    for name, help_ in (
        ("redeliver", "send letters again"),
        ("discard", "give letters up for good"),
        ("purge", "delete letters for good"),
    ):
        one = _add(below, name, help_, "deploy.client.bulk", name, reach, filters)
        _add_bulk(one, gives_up=name != "redeliver")
        if name == "redeliver":
            _add_sending(one)


def add_import(commands: Any, home: argparse.ArgumentParser) -> None:  # noqa: ANN401
    """Add `hookline import`."""
    parser = commands.add_parser(
        "import", help="copy from another server", epilog="docs/migrating-from-svix.md"
    )
    below = parser.add_subparsers(required=True, metavar="SERVER")
    one = _add(
        below, "svix", "copy from Svix", "deploy.client.importing", "import_svix", _reach(home)
    )
    one.add_argument("--from-url", metavar="URL", help="Svix (default SVIX_SERVER_URL)")
    one.add_argument("--from-key", metavar="KEY", help="its key (default SVIX_AUTH_TOKEN)")
    one.add_argument("--dry-run", action="store_true", help="say what would be done")
    one.add_argument("--at-once", type=int, default=4, metavar="N", help="apps at a time (4)")


def _add(
    below: Any,  # noqa: ANN401
    name: str,
    help_: str,
    module: str,
    function: str,
    *parents: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = below.add_parser(
        name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.", parents=list(parents),
        allow_abbrev=False, epilog="docs/dead-letters.md",
    )  # fmt: skip
    one.set_defaults(run=_later(module, function))
    return one


def _later(module: str, function: str) -> Run:
    def run(settings: Settings, given: argparse.Namespace) -> int:
        from deploy.client.desk import at_desk

        return at_desk(settings, given, getattr(import_module(module), function))

    return run


def _reach(home: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, parents=[home])
    group = parser.add_argument_group("where")
    group.add_argument("--url", help="the API (default HOOKLINE_URL, or the home's)")
    group.add_argument("--key", help="a key (default HOOKLINE_KEY, or the home's operator.key)")
    group.add_argument("--environment", metavar="ID", help="for a key that acts everywhere")
    group.add_argument(
        "--app", action="append", type=_words, metavar="APP", help="id or uid; may be repeated"
    )
    group.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _filters() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group(
        "which letters", "Parked ones if --state is not given. Lists are repeated, or have commas."
    )
    for flag, meta, help_ in (
        ("--state", "STATE", "parked, redelivering, redelivered, discarded, all"),
        ("--endpoint", "ID", "with one --app uids too"),
        ("--group", "ID", "letters that failed alike: dlg_..."),
        ("--event-type", "NAME", "of these event types"),
        ("--why", "REASON", "why it was given up: exhausted, gone, aborted, ..."),
        ("--error-class", "CLASS", "of what kind it failed: http_5xx, timeout, dns, ..."),
    ):
        group.add_argument(flag, action="append", type=_words, metavar=meta, help=help_)
    for flag, meta, help_ in (
        ("--fault", "FAULT", "why there was no answer"),
        ("--status", "CODE", "answered so: 503, or 5xx; none: no answer"),
        ("--text", "TEXT", "stands in the answer or the fault's detail"),
        ("--payload-path", "PATH", "JSON path: '$.amount > 100'"),
    ):
        group.add_argument(flag, type=_words, metavar=meta, help=help_)
    group.add_argument("--after", metavar=_TIME, help="parked since: 2h, 3d, or RFC 3339")
    group.add_argument("--before", metavar=_TIME, help="parked before then")
    group.add_argument("--attempts-min", type=int, metavar="N", help="attempts, at least")
    group.add_argument("--attempts-max", type=int, metavar="N", help="attempts, at most")
    return parser


def _add_reading(
    below: Any,  # noqa: ANN401
    reach: argparse.ArgumentParser,
    filters: argparse.ArgumentParser,
) -> None:
    module = "deploy.client.letters"
    one = _add(below, "list", "list letters, the newest first", module, "list_", reach, filters)
    one.add_argument("--limit", type=_positive, default=50, metavar="N", help="at most (50)")
    one.add_argument("--oldest-first", action="store_true", help="the other way round")
    one = _add(below, "show", "show a letter with payload and answer", module, "show", reach)
    one.add_argument("letter", metavar="ID", help="dl_...")
    _add(below, "count", "count letters", module, "count", reach, filters)
    one = _add(
        below,
        "groups",
        "list how letters failed, or say where that stands",
        module,
        "groups",
        reach,
    )
    one.add_argument("--state", action="append", help="open, acknowledged, snoozed, resolved")
    one.add_argument("--endpoint", action="append", type=_words, metavar="ID")
    one.add_argument("--error-class", action="append", metavar="CLASS")
    one.add_argument("--by-time", action="store_true", help="the last seen first, not the largest")
    one.add_argument("--limit", type=_positive, default=50, metavar="N", help="at most (50)")
    _add_moves(one)
    one = _add(
        below, "export", "write letters as lines of JSON", "deploy.client.export", "export",
        reach, filters,
    )  # fmt: skip
    one.add_argument("--output", type=Path, metavar="FILE", help="(default: stdout)")


def _add_moves(one: argparse.ArgumentParser) -> None:
    one.add_argument("groups", nargs="*", metavar="ID", help="with these: dlg_...")
    group = one.add_argument_group("what to do with groups that are named")
    moves = group.add_mutually_exclusive_group()
    for flag, state, help_ in (
        ("--acknowledge", "acknowledged", "somebody looks after it"),
        ("--resolve", "resolved", "it is over; the next letter opens it again"),
        ("--reopen", "open", "it is to be looked at"),
    ):
        moves.add_argument(flag, action="store_const", dest="to", const=state, help=help_)
    moves.add_argument("--snooze", metavar=_TIME, help="say nothing of it until: 2h, or RFC 3339")
    group.add_argument("--reason", metavar="TEXT", help="for the audit trail")


def _add_tasks(
    below: Any,  # noqa: ANN401
    reach: argparse.ArgumentParser,
    _: argparse.ArgumentParser,
) -> None:
    parser = below.add_parser("task", help="look after tasks", allow_abbrev=False)
    commands, module = parser.add_subparsers(required=True, metavar="COMMAND"), "deploy.client.task"
    one = _add(commands, "list", "list tasks, the newest first", module, "list_", reach)
    one.add_argument("--state", action="append", help="scheduled, running, paused, finished, ...")
    one.add_argument("--kind", action="append", help="dead_letter.redeliver, ...")
    one.add_argument("--limit", type=_positive, default=20, metavar="N", help="at most (20)")
    for name, help_ in (
        ("show", "show a task"),
        ("watch", "follow a task until it ends"),
        ("items", "list what became of each letter"),
        ("pause", "choose no more letters"),
        ("resume", "go on with a task"),
        ("cancel", "end a task; what was not chosen stays parked"),
    ):
        one = _add(commands, name, help_, module, name, reach)
        one.add_argument("task", metavar="ID", help="qtask_...")
        if name == "items":
            one.add_argument("--state", action="append", help="failed, skipped, delivered, ...")
            one.add_argument("--limit", type=_positive, default=50, metavar="N", help="at most")


def _add_bulk(one: argparse.ArgumentParser, *, gives_up: bool) -> None:
    one.add_argument("letters", nargs="*", metavar="ID", help="these letters, up to 1,000")
    group = one.add_argument_group("how")
    group.add_argument("--all", action="store_true", help="all that are parked, without a filter")
    needed = "needed, for" if gives_up else "for"
    group.add_argument("--reason", metavar="TEXT", help=f"{needed} the audit trail")
    group.add_argument("--dry-run", action="store_true", help="say what would be done")
    group.add_argument("--yes", action="store_true", help="do not ask")
    group.add_argument("--detach", action="store_true", help="do not wait for the end")
    group.add_argument("--start-at", metavar=_TIME, help="not before: 30m, or RFC 3339")
    group.add_argument("--newest-first", action="store_true", help="within each endpoint")
    group.add_argument("--job-id", metavar="NAME", help="asked twice, it is one task")


def _add_sending(one: argparse.ArgumentParser) -> None:
    group = one.add_argument_group("how it is sent")
    group.add_argument("--rate", type=float, metavar="N", help="a second, all endpoints together")
    group.add_argument("--concurrency", type=int, metavar="N", help="at a time, at each endpoint")
    group.add_argument("--probe", type=int, metavar="N", help="N first; more if all arrive")
    group.add_argument("--stop-percent", type=float, metavar="P", help="stop when more than P fail")
    group.add_argument("--no-retry", action="store_true", help="park what fails at once")
    group.add_argument("--to-endpoint", metavar="ID", help="send there instead, within one --app")


def _words(text: str) -> str:
    """Read what says which; a variable that is empty in somebody's script must not mean all."""
    if not text.strip(" ,"):
        raise argparse.ArgumentTypeError("must not be empty")
    return text


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value
