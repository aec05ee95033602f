"""Our own processes as parts of an installation: gateways, dispatchers, the demo.

Each runs `hookline <part>`, so that its command line names it, and gets all settings by its
environment.
"""

import asyncio
import hashlib
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.home import Home
from deploy.ports import LOOPBACK
from deploy.settings import PREFIX, UNPREFIXED, Settings
from deploy.supervisor import Part

_REQUEST: Final = b"GET /api/v1/health/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ANSWER_S: Final = 5.0
_GRACE_S: Final = 10.0  # more than the parts take to drain; then they are killed
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - told apart, not bound


def api_url(settings: Settings) -> str:
    """Say where this machine reaches the API."""
    host = _reachable(settings.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def addresses(settings: Settings) -> dict[str, str]:
    """Say where everything is, under the names that `<home>/env` exports."""
    return {
        "HOOKLINE_URL": api_url(settings),
        "NATS_URL": settings.nats_url.reveal() if settings.nats_url else "",
        "DATABASE_URL": settings.database_url.reveal() if settings.database_url else "",
    }


def child_environ(settings: Settings, more: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of a process of ours: what we have, and these settings alone."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(PREFIX) and name not in UNPREFIXED
    }
    return ours | settings.to_environ() | dict(more) | {"PYTHONUNBUFFERED": "1"}


def gateway(settings: Settings, number: int, environ: Mapping[str, str]) -> Part:
    """Describe a gateway; several share the port."""
    name = f"gateway-{number}"
    return Part(
        name=name,
        argv=_command("gateway", "--name", name, "--shared-port"),
        environ=environ,
        ready=lambda: answers(settings.host, settings.port),
        stop_s=settings.drain_s + _GRACE_S,
    )


def dispatcher(settings: Settings, home: Home, number: int, environ: Mapping[str, str]) -> Part:
    """Describe a dispatcher."""
    name = f"dispatcher-{number}"
    ready_file = home.run / f"{name}.ready"
    return Part(
        name=name,
        argv=_command(
            *("dispatcher", "--name", f"{name}.{_installation(home)}"),
            *("--ready-file", str(ready_file)),
        ),
        environ=environ,
        ready=lambda: asyncio.to_thread(_names_a_process, ready_file),
        stop_s=settings.drain_s + _GRACE_S,
    )


def demo(environ: Mapping[str, str]) -> Part:
    """Describe the demo: receivers and sample events. It uses the public API only."""
    colour = ["--colour"] if shows_colour() else []  # its own output is a pipe
    return Part(name="demo", argv=_command("demo", *colour), environ=environ)


def shows_colour() -> bool:
    """Tell whether what we print is seen by somebody who wants colour."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ


async def answers(host: str, port: int) -> bool:
    """Tell whether a gateway says that it is well."""
    try:
        async with asyncio.timeout(_ANSWER_S):
            reader, writer = await asyncio.open_connection(_reachable(host), port)
            writer.write(_REQUEST)
            status_line = await reader.readline()
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return status_line.split(b" ")[1:2] in ([b"200"], [b"204"])


def _names_a_process(ready_file: Path) -> bool:
    """Tell whether the process that wrote its id there still runs."""
    try:
        os.kill(int(ready_file.read_text()), 0)
    except (OSError, ValueError):
        return False
    return True


def _reachable(host: str) -> str:
    return LOOPBACK if host in _EVERY_ADDRESS else host


def _command(*arguments: str) -> tuple[str, ...]:
    """Give what runs a part; without an installed `hookline`, this package as a module."""
    script = Path(sys.executable).with_name("hookline")
    if script.exists():
        return (sys.executable, str(script), *arguments)
    return (sys.executable, "-m", "deploy.cli", *arguments)


def _installation(home: Home) -> str:
    """Tell homes apart that share one database: machine and directory."""
    return f"{socket.gethostname()}.{hashlib.sha256(os.fsencode(home.root)).hexdigest()[:8]}"
