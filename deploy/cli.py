"""The command `hookline`. Exit code 2: usage or settings; 1: something does not work; 0 else.

It reads the command line and the environment, and hands over; flags are written over the
environment's settings, so that there is one way to read and to refuse a value.
"""

import argparse
import asyncio
import os
import socket
import sys
from collections.abc import Coroutine, Sequence
from datetime import datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from deploy.client.flags import add_dlq, add_import
from deploy.clock import now
from deploy.settings import PREFIX, Settings
from deploy.telemetry import log_to_stderr
from schema.errors import HooklineError, SettingsFault

_FLAGS: Final = ("home", "port", "gateways", "dispatchers", "demo")
_INTERRUPTED: Final = 130
_OPERATOR_DAYS: Final = 3650  # as long as Svix's
_APP_DAYS: Final = 28


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    given = _parser().parse_args(arguments)
    try:
        settings = Settings.from_environ({**os.environ, **_as_environ(given)})
        log_to_stderr(level=settings.log_level, form=settings.log_format)
        code: int = given.run(settings, given)
    except SettingsFault as faults:
        for fault in faults.faults:
            print(f"hookline: {fault}", file=sys.stderr)
        return 2
    except HooklineError as fault:
        for line in str(fault).splitlines():
            print(f"hookline: {line}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return code


def _up(settings: Settings, _: argparse.Namespace) -> int:
    from deploy.up import up

    asyncio.run(up(settings))
    return 0


def _gateway(settings: Settings, given: argparse.Namespace) -> int:
    from deploy.wiring import run_gateway

    name = given.name or _process_name("gateway")
    return _serve(run_gateway(settings, name=name, shared_port=given.shared_port))


def _dispatcher(settings: Settings, given: argparse.Namespace) -> int:
    from deploy.wiring import run_dispatcher

    name = given.name or _process_name("dispatcher")
    return _serve(run_dispatcher(settings, name=name, ready_file=given.ready_file))


def _demo(settings: Settings, given: argparse.Namespace) -> int:
    from deploy.demo import run
    from deploy.parts import shows_colour

    return _serve(run(settings, colour=given.colour or shows_colour()))


def _migrate(settings: Settings, _: argparse.Namespace) -> int:
    from deploy.install import install

    done = asyncio.run(install(settings))
    for name in done.migrations:
        print(f"applied {name}")
    print(
        f"schema complete, {done.shards} shards; stream {'made' if done.stream_is_new else 'kept'}"
    )
    return 0


def _check(settings: Settings, _: argparse.Namespace) -> int:
    from deploy.check import findings

    async def report() -> bool:
        well = True
        async for finding in findings(settings):
            print(f"{finding.what:10}{'ok' if finding.ok else 'FAULT':7}{finding.word}")
            well = well and finding.ok
        return well

    return 0 if asyncio.run(report()) else 1


def _key_create(settings: Settings, given: argparse.Namespace) -> int:
    from deploy.connections import connection
    from deploy.keys import create_key

    async def create() -> str:
        async with connection(settings) as link:
            key, text = await create_key(
                link,
                name=given.name,
                environment_id=given.environment,
                now=now(),
                scopes=given.scope,
            )
        print(f"{key.id}: shown once, on the next line", file=sys.stderr)
        return text

    print(asyncio.run(create()))
    return 0


def _key_list(settings: Settings, _: argparse.Namespace) -> int:
    from deploy.connections import connection
    from schema.store import api_key

    async def listed() -> None:
        async with connection(settings) as link:
            keys = await api_key.list_all(link)
        for key in keys:
            state = "revoked" if key.revoked_at else "expires" if key.expires_at else "valid"
            times = f"made {_day(key.created_at)}, last used {_day(key.last_used_at)}"
            where = "everywhere" if "*" in key.scopes else key.app_id or key.environment_id
            print(f"{key.id}  {key.kind:8}  …{key.hint}  {state:7}  {times}  {where}  {key.name}")

    asyncio.run(listed())
    return 0


def _key_revoke(settings: Settings, given: argparse.Namespace) -> int:
    from deploy.connections import connection
    from schema.store import api_key

    async def revoked() -> bool:
        async with connection(settings) as link:
            return await api_key.revoke(link, given.id, now())

    if not asyncio.run(revoked()):
        print(f"hookline: there is no key {given.id}", file=sys.stderr)
        return 1
    print(f"{given.id} is revoked")
    return 0


def _jwt_generate(settings: Settings, given: argparse.Namespace) -> int:
    from deploy.keys import create_token

    made = create_token(
        settings,
        environment_id=given.environment,
        app_id=given.app,
        now=now(),
        lifetime=timedelta(days=given.days or (_APP_DAYS if given.app else _OPERATOR_DAYS)),
    )
    print(asyncio.run(made))
    return 0


def _serve(part: Coroutine[Any, Any, None]) -> int:
    import uvloop

    uvloop.run(part)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hookline",
        description="Delivers events to webhook endpoints.",
        epilog="docs/operating.md",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", metavar="DIR", help="data directory (default .hookline)")

    _add_part_commands(commands, home)
    _add_tool_commands(commands, home)
    for name, word, add in (
        ("key", "operators' API keys", _add_key_commands),
        ("jwt", "tokens as Svix has them", _add_jwt_commands),
    ):
        add(commands.add_parser(name, help=word), home)
    add_dlq(commands, home)
    add_import(commands, home)
    return parser


def _add_part_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", home: argparse.ArgumentParser
) -> None:
    """Add what runs an installation, or a part of one."""
    one = commands.add_parser("up", parents=[home], help="run everything on this machine")
    one.add_argument("--port", metavar="N", help="port of API and console (default 8071)")
    one.add_argument("--gateways", metavar="N", help="gateway processes (default 1)")
    one.add_argument("--dispatchers", metavar="N", help="dispatcher processes (default 1)")
    one.add_argument("--demo", action="store_true", default=None, help="add receivers and events")
    one.set_defaults(run=_up)

    one = commands.add_parser("gateway", parents=[home], help="run a gateway")
    one.add_argument("--port", metavar="N", help="port of API and console (default 8071)")
    one.add_argument("--name", help="what the servers and the log call it")
    one.add_argument("--shared-port", action="store_true", help="let others listen beside it")
    one.set_defaults(run=_gateway)

    one = commands.add_parser("dispatcher", parents=[home], help="run a dispatcher")
    one.add_argument("--name", help="holds the leases; of this installation it alone has it")
    one.add_argument("--ready-file", type=Path, help=argparse.SUPPRESS)
    one.set_defaults(run=_dispatcher)


def _add_tool_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", home: argparse.ArgumentParser
) -> None:
    """Add what is done beside a running one."""
    one = commands.add_parser(
        "migrate", parents=[home], help="bring database and stream up to date"
    )
    one.set_defaults(run=_migrate)
    one = commands.add_parser(
        "check", parents=[home], help="look at settings, Postgres, NATS, keys"
    )
    one.set_defaults(run=_check)
    one = commands.add_parser("demo", parents=[home], help="receivers and sample events alone")
    one.add_argument("--colour", action="store_true", help=argparse.SUPPRESS)
    one.set_defaults(run=_demo)


def _add_key_commands(parser: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("create", parents=[home], help="make a key and print it, once")
    one.add_argument("--name", default="", help="what it is for")
    one.add_argument("--environment", metavar="ID", help="where alone it acts (default everywhere)")
    one.add_argument(
        "--scope",
        action="append",
        default=[],
        help="what alone it may do, as event-type:Read; may be said again",
    )
    one.set_defaults(run=_key_create)
    one = commands.add_parser("list", parents=[home], help="list all keys")
    one.set_defaults(run=_key_list)
    one = commands.add_parser("revoke", parents=[home], help="end a key")
    one.add_argument("id", help="key_...")
    one.set_defaults(run=_key_revoke)


def _add_jwt_commands(parser: argparse.ArgumentParser, home: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    one = commands.add_parser("generate", parents=[home], help="make a token and print it")
    one.add_argument("environment", nargs="?", metavar="ORG", help="org_... (the default one)")
    one.add_argument("--app", metavar="ID", help="app_...: acts within that app alone")
    one.add_argument("--days", type=int, metavar="N", help="how long it counts (3650; an app's 28)")
    one.set_defaults(run=_jwt_generate)


def _as_environ(given: argparse.Namespace) -> dict[str, str]:
    """Write flags as the settings that they stand for."""
    flags = {name: getattr(given, name, None) for name in _FLAGS}
    return {PREFIX + name.upper(): str(value) for name, value in flags.items() if value is not None}


def _process_name(part: str) -> str:
    return f"{part}.{socket.gethostname()}.{os.getpid()}"


def _version() -> str:
    try:
        return f"hookline {version('hookline')}"
    except PackageNotFoundError:
        return "hookline, not installed"


def _day(at: datetime | None) -> str:
    return at.strftime("%Y-%m-%d %H:%M") if at else "never"


if __name__ == "__main__":
    sys.exit(main())
