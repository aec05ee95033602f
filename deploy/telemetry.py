"""What the processes say: log lines, and metrics that all processes of one machine share.

Under `hookline up` every process writes its metrics to files in one directory, and any gateway
answers /metrics for all of them. prometheus_client looks for that directory when it is imported,
so it stands in the environment before a process starts.
"""

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
from prometheus_client import CollectorRegistry, multiprocess, start_http_server

from deploy.faults import StartFault

METRICS_DIRECTORY: Final = "PROMETHEUS_MULTIPROC_DIR"
_USUAL: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_QUIET: Final = {
    "asyncio": logging.WARNING,
    "asyncpg": logging.ERROR,  # its pool warns, with a traceback, while Postgres is away
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "nats": logging.WARNING,
    "uvicorn": logging.WARNING,
}


class TextLines(logging.Formatter):
    """`12:34:56.789 INFO dispatcher.intake message key=value`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; an error's traceback follows on lines of its own."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        pairs = "".join(f" {key}={value}" for key, value in _extras(record).items())
        line = f"{at} {record.levelname} {record.name} {record.getMessage()}{pairs}"
        return f"{line}\n{_trace(record)}" if record.exc_info else line


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, message, what else the record carries."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record; an error's traceback is a field."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["error"] = _trace(record)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def log_to_stderr(*, level: str, form: str) -> None:
    """Set logging up, once for a process.

    Args:
        level: The least that is shown: debug, info or warning. Libraries begin at warning.
        form: text or json.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(least)


def share_metrics(directory: Path) -> dict[str, str]:
    """Make the directory of shared metrics, empty; gives what children's environment needs."""
    directory.mkdir(exist_ok=True)
    for path in directory.glob("*.db"):
        path.unlink()
    return {METRICS_DIRECTORY: str(directory)}


def forget_process(directory: Path, pid: int) -> None:
    """Drop the gauges of a process that ended; its counters stay, for they must never fall."""
    for path in directory.glob(f"gauge_live*_{pid}.db"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def shown_registry(own: CollectorRegistry) -> CollectorRegistry:
    """Give what /metrics answers from: all processes that share a directory, else our own."""
    if METRICS_DIRECTORY not in os.environ:
        return own
    shared = CollectorRegistry()
    multiprocess.MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    return shared


@contextlib.contextmanager
def serve_metrics(host: str, port: int, own: CollectorRegistry) -> Iterator[None]:
    """Answer /metrics while it runs, for a process that serves no HTTP otherwise; not on port 0.

    Raises:
        StartFault: The port is taken.
    """
    if port == 0:
        yield
        return
    try:
        server, thread = start_http_server(port, addr=host, registry=shown_registry(own))
    except OSError as error:
        raise StartFault(f"cannot serve metrics on {host} port {port}: {error.strerror}") from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _extras(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in record.__dict__.items() if key not in _USUAL}


def _trace(record: logging.LogRecord) -> str:
    return "".join(traceback.format_exception(*(record.exc_info or (None, None, None)))).rstrip()
