"""The pages say what the code does; and `scripts/check_docs.py` would notice if they did not."""

import ast
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from deploy.up import _BANNER
from schema.dead_letter import GROUP_MOVES, LETTER_MOVES
from schema.delivery import MOVES, Fault, Reason
from schema.errors import HooklineError
from schema.health import HEALTH_MOVES
from scripts import check_docs
from scripts.check_docs import (
    ROOT,
    diagram_faults,
    fence_faults,
    fenced,
    first_event,
    layout,
    layout_faults,
    link_faults,
    metric_faults,
    modules,
    name_faults,
    operation_faults,
    page_faults,
    pages,
    place_faults,
    scope_faults,
    scope_rows,
    settings_faults,
)

DOCS = ROOT / "docs"
PAGES = [str(page.relative_to(ROOT)) for page in pages(ROOT)]


def page(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("name", PAGES)
def test_links_fences_names_and_hosts_of_a_page_are_right(name: str) -> None:
    faults = list(page_faults(ROOT / name))

    assert faults == []


@pytest.mark.parametrize("name", PAGES)
def test_every_python_snippet_is_python(name: str) -> None:
    snippets = fenced((ROOT / name).read_text(), "python")

    for snippet in snippets:
        ast.parse(snippet)


@pytest.mark.parametrize("name", PAGES)
def test_every_shell_snippet_is_shell(name: str) -> None:
    shell = shutil.which("sh") or "sh"
    snippets = fenced((ROOT / name).read_text(), "sh")

    codes = [subprocess.run([shell, "-n", "-c", s], check=False).returncode for s in snippets]

    assert codes == [0] * len(snippets)


def test_the_first_event_in_the_readme_is_what_up_prints() -> None:
    snippets = fenced((ROOT / "README.md").read_text(), "sh")

    assert first_event(_BANNER) in snippets


def test_the_layout_lists_every_module_and_no_other() -> None:
    listing = "\n".join(fenced(page("design.md"), "text"))

    assert list(layout_faults(listing, modules(ROOT))) == []


def test_the_diagrams_draw_the_moves_and_no_other() -> None:
    deliveries, letters, groups, health = fenced(page("concepts.md"), "mermaid")

    assert list(diagram_faults(deliveries, MOVES)) == []
    assert list(diagram_faults(letters, LETTER_MOVES)) == []
    assert list(diagram_faults(groups, GROUP_MOVES)) == []
    assert list(diagram_faults(health, HEALTH_MOVES)) == []


def test_the_settings_reference_is_that_of_the_settings() -> None:
    assert list(settings_faults(page("settings.md"))) == []


def test_the_list_of_operations_is_the_gateways() -> None:
    assert list(operation_faults(page("api.md"))) == []


def test_the_tables_of_scopes_are_the_gateways() -> None:
    assert list(scope_faults(page("api.md"))) == []


def test_a_scope_that_the_page_lacks_or_makes_up_is_a_fault() -> None:
    text = "\n".join([*scope_rows()[1:], "| `nothing:Read` | `/api/v1/nothing` |"])

    assert list(scope_faults(text)) == [
        f"lacks {scope_rows()[0]}",
        "has | `nothing:Read` | `/api/v1/nothing` |, which is not so",
    ]


def test_the_list_of_metrics_has_every_metric() -> None:
    assert list(metric_faults(page("metrics.md"))) == []


@pytest.mark.parametrize("words", [Reason, Fault])
def test_the_concepts_explain_every_reason_and_fault(words: Iterable[str]) -> None:
    text = page("concepts.md")

    assert [word for word in words if f"`{word}`" not in text] == []


def test_publishing_explains_every_reason_of_a_rejection() -> None:
    source = "".join((ROOT / p).read_text() for p in ("schema/event.py", "dispatcher/intake.py"))
    reasons = set(re.findall(r'reason="(\w+)"', source))

    text = page("publishing.md")

    assert len(reasons) > 5
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in text] == []


def test_the_api_names_every_code_of_an_error() -> None:
    kinds: list[type[HooklineError]] = [HooklineError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    ours = {"error", "settings", "start", "migration"}  # never leave the process
    source = "".join(file.read_text() for file in (ROOT / "gateway").rglob("*.py"))
    given = set(re.findall(r'code="(\w+)"', source))
    codes = {kind.code for kind in kinds if kind.__module__ == "schema.errors"} | given

    text = page("api.md")

    assert [code for code in sorted(codes - ours - {"validation"}) if f"`{code}`" not in text] == []


def test_a_fence_that_is_not_closed_is_a_fault() -> None:
    assert list(fence_faults("```sh\nls\n```\n```\nopen\n")) == ["4: this fence is not closed"]


def test_a_link_that_leads_nowhere_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# What is there\n")
    text = "[a](there.md#what-is-there) [b](there.md#what-is-not) [c](gone.md) [d](#here)\n# Here\n"

    faults = list(link_faults(tmp_path / "page.md", _written(tmp_path / "page.md", text)))

    assert faults == ["1: there.md has no heading #what-is-not", "1: there is no gone.md"]


def test_a_path_of_one_machine_and_a_strange_host_are_faults() -> None:
    machine, registry = f"{Path.home().root}home/me/x", "registry.example.net"

    faults = list(place_faults(f"in {machine}\nhttps://{registry}/x\nhttp://127.0.0.1:9/y"))

    assert faults == [
        "1: names a path of one machine",
        f"2: {registry} is not among the hosts that pages may name",
    ]


def test_a_setting_or_metric_that_does_not_exist_is_a_fault() -> None:
    setting, metric = "HOOKLINE_" + "NOTHING", "hookline_" + "nothing"

    assert list(name_faults(f"{setting} {metric} HOOKLINE_PORT hookline_lanes")) == [
        f"{setting} is no setting",
        f"{metric} is no metric",
    ]


def test_a_module_that_the_layout_lacks_is_a_fault() -> None:
    listing = "schema/  ground\n  ids.py errors.py   ids, errors.py too\n  store/\n    app.py\n"

    assert layout(listing) == {"schema/ids.py", "schema/errors.py", "schema/store/app.py"}
    assert list(layout_faults(listing, {"schema/ids.py", "schema/event.py"})) == [
        "the layout lacks schema/event.py",
        "the layout lists schema/errors.py, which is not there",
        "the layout lists schema/store/app.py, which is not there",
    ]


def test_a_move_that_the_diagram_lacks_or_makes_up_is_a_fault() -> None:
    drawn = "stateDiagram-v2\n    [*] --> a : made\n    a --> b : moved\n    b --> a\n"

    assert list(diagram_faults(drawn, {"a": ["b", "c"]})) == [
        "the diagram lacks a --> c",
        "the diagram draws b --> a, which cannot be",
    ]


def test_the_script_finds_nothing_to_say() -> None:
    assert check_docs.main() == 0


def _written(path: Path, text: str) -> str:
    path.write_text(text)
    return text
