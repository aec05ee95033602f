"""The rules for Prometheus are of a form that it reads, on metrics that there are."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
RULES = (ROOT / "deploy" / "prometheus" / "hookline.rules.yaml").read_text()
METRICS = (ROOT / "docs" / "metrics.md").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()
# The only shapes that a line has, by its depth; in YAML a plain text holds neither ": " nor " #".
LINES = (
    r"groups:",
    r"  - name: [a-z-]+",
    r"    rules:",
    r"      - (record|alert): [A-Za-z0-9:_]+",
    r"        expr: (?!['\"{\[>|&*!%@`])(?!.*(: | #)).+",
    r"        for: \d+m",
    r"        (labels|annotations):",
    r"          severity: (page|ticket)",
    r"          summary: (\"[^\"]+\"|(?!['\"{\[>|&*!%@`])(?!.*(: | #)).+)",
    r" *#.*",
    r"",
)
EXPRESSIONS = re.findall(r"^        expr: (.+)$", RULES, re.MULTILINE)


def test_every_line_is_of_a_form_that_yaml_reads_as_it_is_meant() -> None:
    strange = [line for line in RULES.splitlines() if not any(re.fullmatch(f, line) for f in LINES)]

    assert strange == []


def test_every_rule_has_what_it_needs_in_order() -> None:
    keys = re.findall(r"^ +(?:- )?(record|alert|expr|for|labels|annotations):", RULES, re.MULTILINE)

    assert re.fullmatch(r"((record expr )|(alert expr (for )?labels annotations ))+", _row(keys))


def _row(keys: list[str]) -> str:
    return "".join(f"{key} " for key in keys)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_closed_and_asks_for_metrics_that_there_are(expression: str) -> None:
    asked = set(re.findall(r"\bhookline_\w+", expression))
    recorded = set(re.findall(r"\bhookline:[\w:]+", expression))

    assert asked | recorded
    for name in asked:
        assert f"`{re.sub('_(bucket|count|sum)$', '', name)}`" in METRICS, name
    assert recorded <= set(re.findall(r"record: (\S+)", RULES))
    for opened, closed in ("()", "[]", "{}"):
        assert expression.count(opened) == expression.count(closed)


def test_the_operators_page_says_what_to_do_about_every_alert() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES))

    assert alerts == set(re.findall(r"`(Hookline[A-Z]\w+)`", OPERATING))
