"""The figures of a run: one row each, beside the baseline of the same run, as text and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

HEADS = ("", "measured", "baseline", "ratio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure, and what it is held against."""

    name: str
    value: float
    unit: str
    baseline: float | None = None

    @property
    def ratio(self) -> float | None:
        """Tell how many times the baseline it is."""
        return self.value / self.baseline if self.baseline else None


def as_text(rows: Sequence[Row]) -> str:
    """Write an aligned table."""
    lines = [HEADS]
    for row in rows:
        baseline = "" if row.baseline is None else _figure(row.baseline, row.unit)
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        lines.append((row.name, _figure(row.value, row.unit), baseline, ratio))
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADS))]
    return "\n".join(
        line[0].ljust(widths[0])
        + "".join(f"  {cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        for line in lines
    )


def as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    """Write what `--json` keeps."""
    return [{**asdict(row), "ratio": row.ratio} for row in rows]


def _figure(value: float, unit: str) -> str:
    return f"{value:,.1f} {unit}" if value < 100 else f"{value:,.0f} {unit}"
