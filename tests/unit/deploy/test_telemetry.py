import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from deploy.faults import StartFault
from deploy.ports import first_free
from deploy.telemetry import (
    JsonLines,
    TextLines,
    forget_process,
    log_to_stderr,
    serve_metrics,
    share_metrics,
)


def record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "dispatcher.intake", "levelname": "INFO", **extra})
    made.msg, made.args, made.created = message, arguments, 1_700_000_000.5
    return made


def test_a_line_of_text_has_time_level_logger_message_and_what_else_there_is() -> None:
    line = TextLines().format(record("took %d events", 3, shard=7))

    assert line == "22:13:20.500 INFO dispatcher.intake took 3 events shard=7"


def test_a_line_of_json_has_the_same_in_fields() -> None:
    line = JsonLines().format(record("took %d events", 3, shard=7, path=Path("/x")))

    assert json.loads(line) == {
        "at": "2023-11-14T22:13:20.500000+00:00",
        "level": "info",
        "logger": "dispatcher.intake",
        "message": "took 3 events",
        "shard": 7,
        "path": "/x",
    }


@pytest.mark.parametrize("lines", [TextLines(), JsonLines()])
def test_an_error_is_written_with_its_traceback(lines: logging.Formatter) -> None:
    try:
        int("broken")
    except ValueError as error:
        info = (type(error), error, error.__traceback__)

    line = lines.format(record("failed", exc_info=info))

    assert "Traceback" in line
    assert "ValueError: invalid literal" in line


@pytest.fixture
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


@pytest.mark.usefixtures("logging_as_it_was")
def test_what_is_below_the_level_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(level="warning", form="text")

    logging.getLogger("gateway").info("quiet")
    logging.getLogger("gateway").warning("loud")

    assert capsys.readouterr().err.endswith("WARNING gateway loud\n")


def test_metrics_of_former_runs_are_cleared_and_gauges_of_the_dead_forgotten(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "metrics"
    share_metrics(directory)
    (directory / "counter_7.db").touch()
    (directory / "gauge_livesum_7.db").touch()
    (directory / "gauge_livesum_77.db").touch()

    forget_process(directory, 7)
    left = {path.name for path in directory.iterdir()}
    environ = share_metrics(directory)

    assert left == {"counter_7.db", "gauge_livesum_77.db"}
    assert list(directory.iterdir()) == []
    assert environ == {"PROMETHEUS_MULTIPROC_DIR": str(directory)}


def test_a_process_without_http_answers_for_its_metrics() -> None:
    registry, port = CollectorRegistry(), first_free(())
    Counter("hookline_test", "A test.", registry=registry).inc()

    with serve_metrics("127.0.0.1", port, registry):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
        with pytest.raises(StartFault), serve_metrics("127.0.0.1", port, registry):
            pass

    assert "hookline_test_total 1.0" in text


def test_port_zero_serves_no_metrics() -> None:
    with serve_metrics("127.0.0.1", 0, CollectorRegistry()):
        pass
