"""What processes have used, read from /proc: each with all processes that it started."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_TIMES: Final = slice(11, 15)  # utime, stime, and those of children that have ended


def tree_cpu_s(root: int) -> float:
    """Add up what a process and all below it have used, those that have ended included."""
    parents = all_parents()
    tree = {root}
    grown = True
    while grown:
        below = {pid for pid, parent in parents.items() if parent in tree} - tree
        grown = bool(below)
        tree |= below
    ticks = sum(sum(map(int, _stat(Path(f"/proc/{pid}/stat"))[_TIMES])) for pid in tree)
    return ticks / _TICKS_PER_S


def peak_bytes(pid: int) -> int:
    """Give the most memory that a process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    kibibytes = next(line.split()[1] for line in status.splitlines() if "VmHWM" in line)
    return int(kibibytes) * 1024


def children(parent: int, names: tuple[str, ...]) -> Mapping[str, int]:
    """Find the processes that one started, by a word at the beginning of their command lines."""
    found = dict[str, int]()
    for pid, its_parent in all_parents().items():
        if its_parent == parent:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            words = {Path(command[0]).name.removesuffix("-server"), *command[1:4]}
            found.update({name: pid for name in names if name in words})
    return found


def all_parents() -> dict[int, int]:
    """Give every process's parent."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        fields = _stat(stat)
        if fields:
            parents[int(stat.parent.name)] = int(fields[1])
    return parents


def _stat(path: Path) -> list[str]:
    """Read what follows the name in a process's `stat`: state, parent and so on; [] if it ended."""
    try:
        return path.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
