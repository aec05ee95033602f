"""What a transformer takes from itself before it reads a line of foreign code. Child side only.

Code can reach nothing but values: the engine has no files, sockets, timers or processes. These
walls are for the day on which somebody breaks out of the engine: no memory past a bound, no new
file, no process, and on Linux no system call but those that computing and two pipes need.
"""

import ctypes
import platform
import resource
import struct
import sys
from pathlib import Path
from typing import Final

_MIB: Final = 1_048_576
_ROOM_BYTES: Final = 96 * _MIB  # for the interpreter, beyond what it has when it starts
_NO_NEW_PRIVS: Final = 38
_SET_SECCOMP: Final = 22
_FILTER: Final = 2
_LOAD: Final = 0x20  # a word at an offset
_EQUALS: Final = 0x15
_RETURN: Final = 0x06
_KILL: Final = 0x8000_0000
_REFUSE: Final = 0x0005_0001  # EPERM
_ALLOW: Final = 0x7FFF_0000
_NUMBER_AT: Final = 0
_ARCH_AT: Final = 4
_X86_64: Final = 0xC000_003E  # as the kernel calls machines
_AARCH64: Final = 0xC000_00B7
_MACHINES: Final = {"x86_64": (_X86_64, 0), "aarch64": (_AARCH64, 1)}
# What may be called, with its number on each.
_CALLS: Final = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "getpid": (39, 172),
    "getitimer": (36, 102),
    "setitimer": (38, 103),
    "exit": (60, 93),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "times": (100, 153),
    "sigaltstack": (131, 132),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "exit_group": (231, 94),
    "tgkill": (234, 131),
    "getrandom": (318, 278),
    "rseq": (334, 293),
}


def raise_walls(*, memory_bytes: int, result_bytes: int) -> bool:
    """Give up all that computing does not need; tell whether system calls are fenced in, too."""
    most = _size_bytes() + _ROOM_BYTES + 2 * memory_bytes + 16 * result_bytes
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_AS, most),
    ):
        _limit(kind, limit)
    return sys.platform == "linux" and _fence()


def _limit(kind: int, most: int) -> None:
    _, hard = resource.getrlimit(kind)
    least = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(kind, (least, least))


def _size_bytes() -> int:
    """Say how much address space there is by now; elsewhere than on Linux it is guessed."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 1024 * _MIB
    return pages * resource.getpagesize()


def _fence() -> bool:
    known = _MACHINES.get(platform.machine())
    if known is None:
        return False
    arch, column = known
    numbers = [call[column] for call in _CALLS.values()]
    code = [
        _step(_LOAD, _ARCH_AT),
        _step(_EQUALS, arch, yes=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER_AT),
        *(_step(_EQUALS, number, yes=len(numbers) - place) for place, number in enumerate(numbers)),
        _step(_RETURN, _REFUSE),
        _step(_RETURN, _ALLOW),
    ]
    program = ctypes.create_string_buffer(b"".join(code))
    given = struct.pack("@HP", len(code), ctypes.addressof(program))
    libc = ctypes.CDLL(None)
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_SET_SECCOMP, _FILTER, given, 0, 0) == 0)


def _step(code: int, value: int, *, yes: int = 0) -> bytes:
    """Write one instruction of the filter; `yes` is how many are left out if it holds."""
    return struct.pack("=HBBI", code, yes, 0, value)
