"""Checks that the pages say what is so: links, fences, layout, states, settings, routes, metrics.

Every check takes texts and what they are compared to, and yields faults, one line each.
"""

import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeVar

from prometheus_client import CollectorRegistry

from deploy.settings import NOT_SETTINGS, describe
from deploy.up import _BANNER
from dispatcher.metrics import Metrics as DispatcherMetrics
from gateway import scopes
from gateway.app import operations
from gateway.metrics import Metrics as GatewayMetrics
from gateway.routing import Operation
from schema.dead_letter import LETTER_MOVES
from schema.delivery import MOVES
from schema.health import HEALTH_MOVES
from schema.scope import Scope
from schema.store.changes import CHANNEL

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("schema", "signer", "transformer", "gateway", "dispatcher", "deploy")
REACHABLE: Final = "hookline_reachable"  # the one figure that is no number of anything
EVERYBODY: Final = "anybody"  # may call what asks no key
_State = TypeVar("_State", bound=str)

# Where pages may point to. Registries are not among them: a package is named, never its address.
_HOSTS: Final = frozenset(
    {"127.0.0.1", "example.com", "github.com", "docs.svix.com", "www.standardwebhooks.com"}
    | {"keepachangelog.com", "semver.org", "cloudevents.io", "nats.io", "www.postgresql.org"}
    | {"docs.nats.io", "prometheus.io"}
)
_MACHINE_PATH: Final = re.compile(r"(?<![\w.<>~$-])/(?:work|tmp|root|home|Users)/")
_URL: Final = re.compile(r"(?:https?|nats|tls|postgresql)://(?:[^@\s/`'\"]*@)?([^/:\s\"'`)>;,]+)")
_FENCE: Final = re.compile(r"^ *(`{3,})(.*)$")
_HEADING: Final = re.compile(r"^#{1,6} +(.+?) *$")
_LINK: Final = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")
_EDGE: Final = re.compile(r"^ +(\w+) --> (\w+)", re.MULTILINE)
_MODULES: Final = re.compile(r"^( *)((?:[\w]+\.\w+ +)*[\w]+\.\w+)(?: |$)")
_FOLDER: Final = re.compile(r"^( *)(\w+)/")
_ROW: Final = re.compile(r"^\| `((?:HOOKLINE_)?[A-Z_]+)` \| (.*) \|$", re.MULTILINE)
_OPERATION: Final = re.compile(
    r"^\| (GET|POST|PUT|PATCH|DELETE) \| `([^`]+)` \| (\w+) \|", re.MULTILINE
)
_SCOPE_ROW: Final = re.compile(r"\| (?:[A-Z]+ \| `[^`]+` \| )?`[a-z-]+:[A-Za-z]+`")
_METRIC: Final = re.compile(r"\bhookline_[a-z_]+\b")
_SETTING: Final = re.compile(r"\bHOOKLINE_[A-Z_]+\b")


def outside_fences(text: str) -> Iterator[tuple[int, str]]:
    """Give the lines of a page that are not code, with their numbers."""
    fence = ""
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
        elif not fence:
            yield number, line


def fenced(text: str, language: str) -> list[str]:
    """Give what stands in the fences of a language."""
    found: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return found


def fence_faults(text: str) -> Iterator[str]:
    """Say which fence is never closed."""
    fence, opened = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        mark = _FENCE.match(line)
        if mark and not fence:
            fence, opened = mark[1], number
        elif mark and mark[1].startswith(fence) and not mark[2].strip():
            fence = ""
    if fence:
        yield f"{opened}: this fence is not closed"


def anchors(text: str) -> set[str]:
    """Give the anchors that GitHub makes of a page's headings."""
    made: list[str] = []
    for _, line in outside_fences(text):
        if heading := _HEADING.match(line):
            words = re.sub(r"[^\w\- ]", "", heading[1].lower())
            slug = words.replace(" ", "-")
            made.append(f"{slug}-{made.count(slug)}" if slug in made else slug)
    return set(made)


def link_faults(page: Path, text: str) -> Iterator[str]:
    """Say which relative links of a page lead nowhere."""
    for number, line in outside_fences(text):
        for target in _LINK.findall(line):
            path, _, anchor = target.partition("#")
            if "://" in path:
                continue
            file = (page.parent / path).resolve() if path else page
            if not file.exists():
                yield f"{number}: there is no {target}"
            elif anchor and anchor not in anchors(file.read_text()):
                yield f"{number}: {file.name} has no heading #{anchor}"


def place_faults(text: str) -> Iterator[str]:
    """Say where a page names a path of somebody's machine, or a host that it has no use for."""
    for number, line in enumerate(text.splitlines(), start=1):
        if _MACHINE_PATH.search(line):
            yield f"{number}: names a path of one machine"
        for host in _URL.findall(line):
            if host not in _HOSTS and not host.startswith(("$", "<", "{")):
                yield f"{number}: {host} is not among the hosts that pages may name"


def layout(text: str) -> set[str]:
    """Read the listing of a layout: the paths of the files that stand in it."""
    found: set[str] = set()
    folders: dict[int, str] = {}
    for line in text.splitlines():
        if folder := _FOLDER.match(line):
            depth = len(folder[1])
            folders = {at: name for at, name in folders.items() if at < depth}
            folders[depth] = folder[2]
        elif modules := _MODULES.match(line):
            depth = len(modules[1])
            above = [name for at, name in sorted(folders.items()) if at < depth]
            found.update("/".join((*above, name)) for name in modules[2].split())
    return found


def modules(root: Path) -> set[str]:
    """Give the paths of all modules of our packages."""
    files = (file for package in PACKAGES for file in (root / package).rglob("*.py"))
    return {file.relative_to(root).as_posix() for file in files if file.name != "__init__.py"}


def layout_faults(listing: str, there: Collection[str]) -> Iterator[str]:
    """Say where the layout and the tree differ."""
    listed = {path for path in layout(listing) if path.endswith(".py")}
    listed = {path for path in listed if path.partition("/")[0] in PACKAGES}
    yield from (f"the layout lacks {path}" for path in sorted(set(there) - listed))
    yield from (
        f"the layout lists {path}, which is not there" for path in sorted(listed - {*there})
    )


def diagram_faults(drawn: str, moves: Mapping[_State, Iterable[_State]]) -> Iterator[str]:
    """Say where a state diagram and the table of moves differ."""
    edges = set(_EDGE.findall(drawn))
    known = {(str(state), str(to)) for state, following in moves.items() for to in following}
    yield from (f"the diagram lacks {a} --> {b}" for a, b in sorted(known - edges))
    yield from (f"the diagram draws {a} --> {b}, which cannot be" for a, b in sorted(edges - known))


def first_event(banner: str) -> str:
    """Give the lines that `up` prints for a first event, for the usual home."""
    told = banner.format(
        url="http://127.0.0.1:8071", key=".hookline/operator.key", env=".hookline/env"
    )
    lines = [line.removeprefix("  ") for line in told.splitlines() if line.startswith("  ")]
    return "".join(f"{line}\n" for line in lines)


def settings_faults(text: str) -> Iterator[str]:
    """Say where the settings reference and the settings differ."""
    wanted = {
        row.name: " | ".join((row.type, f"`{row.default}`" if row.default else "", row.meaning))
        for row in describe()
    }
    told = dict(_ROW.findall(text))
    yield from (f"lacks | `{n}` | {wanted[n]} |" for n in wanted if told.get(n) != wanted[n])
    yield from (f"has {name}, which is no setting" for name in told.keys() - wanted.keys())


def operation_faults(text: str) -> Iterator[str]:
    """Say where the list of operations and the gateway's differ."""
    served = {(o.method, o.path, _access(o)) for o in operations()}
    told = set(_OPERATION.findall(text))
    yield from (f"lacks | {m} | `{p}` | {who} |" for m, p, who in sorted(served - told))
    yield from (f"lists {m} {p} for {who}, which is not so" for m, p, who in sorted(told - served))


def scope_rows() -> list[str]:
    """Give the rows of the tables of scopes: by resource, and of what is not told by its method."""
    rows = []
    for resource, places in sorted(scopes.places().items()):
        named = [f"`{scope}`" for scope in Scope if scope.partition(":")[0] == resource]
        rows.append(f"| {', '.join(named)} | {', '.join(f'`{place}`' for place in places)} |")
    rows.extend(
        f"| {one.method} | `{one.path}` | `{one.scopes[0]}` |"
        for one in operations()
        if isinstance(one, Operation) and one.writes is not None
    )
    return rows


def scope_faults(text: str) -> Iterator[str]:
    """Say where the tables of scopes and the gateway's differ."""
    wanted = scope_rows()
    told = [line for line in text.splitlines() if _SCOPE_ROW.match(line)]
    yield from (f"lacks {row}" for row in wanted if row not in told)
    yield from (f"has {row}, which is not so" for row in told if row not in wanted)


def _access(operation: object) -> str:
    return operation.access.value if isinstance(operation, Operation) else EVERYBODY


def metric_names() -> set[str]:
    """Give the names of all metrics, as /metrics shows them.

    The figures of the installation are registered at a scrape only: they are read from the source.
    """
    source = "".join((ROOT / "gateway" / name).read_text() for name in ("figures.py", "metrics.py"))
    names = set(re.findall(r'name="(hookline_\w+)"', source)) | {REACHABLE}
    for make in (DispatcherMetrics, GatewayMetrics):
        registry = CollectorRegistry()
        make(registry)
        for family in registry.collect():
            names.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return names


def metric_faults(text: str) -> Iterator[str]:
    """Say where the list of metrics and the registered ones differ."""
    names, told = metric_names(), set(_METRIC.findall(text))
    yield from (f"lacks {name}" for name in sorted(names - told))


def name_faults(text: str) -> Iterator[str]:
    """Say which settings and metrics a page names that do not exist."""
    settings = {row.name for row in describe()} | NOT_SETTINGS
    strange = set(_SETTING.findall(text)) - settings
    ends = ("", "_bucket", "_sum", "_count")
    forms = {f"{name}{end}" for name in metric_names() for end in ends} | {CHANNEL}
    yield from (f"{name} is no setting" for name in sorted(strange))
    yield from (f"{name} is no metric" for name in sorted(set(_METRIC.findall(text)) - forms))


def page_faults(page: Path) -> Iterator[str]:
    """Say what is wrong with a page by itself."""
    text = page.read_text()
    for check in (fence_faults, place_faults, name_faults):
        yield from check(text)
    yield from link_faults(page, text)


def pages(root: Path) -> list[Path]:
    """Give every page."""
    return [root / "README.md", root / "CHANGELOG.md", *sorted((root / "docs").rglob("*.md"))]


def faults(root: Path) -> Iterator[str]:
    """Say everything that is wrong, with the page in front."""
    for page in pages(root):
        for fault in page_faults(page):
            yield f"{page.relative_to(root)}: {fault}"
    docs = root / "docs"
    readme, concepts = (root / "README.md").read_text(), (docs / "concepts.md").read_text()
    if first_event(_BANNER) not in fenced(readme, "sh"):
        yield "README.md: the first event is not what `hookline up` prints"
    drawn = fenced(concepts, "mermaid")
    checks = {
        "design.md": layout_faults(
            "\n".join(fenced((docs / "design.md").read_text(), "text")), modules(root)
        ),
        "settings.md": settings_faults((docs / "settings.md").read_text()),
        "api.md": operation_faults((docs / "api.md").read_text()),
        "api.md, scopes": scope_faults((docs / "api.md").read_text()),
        "metrics.md": metric_faults((docs / "metrics.md").read_text()),
        "concepts.md, deliveries": diagram_faults(drawn[0], MOVES),
        "concepts.md, dead letters": diagram_faults(drawn[1], LETTER_MOVES),
        "concepts.md, health": diagram_faults(drawn[3], HEALTH_MOVES),
    }
    for where, found in checks.items():
        yield from (f"docs/{where}: {fault}" for fault in found)


def main() -> int:
    """Print every fault; the exit code says whether there was one."""
    found = list(faults(ROOT))
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
