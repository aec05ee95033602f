"""The figures of a run: each beside its baseline and what it is held to, as text and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from textwrap import wrap
from typing import Final

COLUMNS: Final = 100
HEADS: Final = ("", "measured", "baseline", "ratio", "held to", "met")
_WIDTHS: Final = (44, 13, 13, 7, 13, 3)  # with a gap of one, 98 columns
_WHOLE: Final = 100  # from here on a tenth says nothing
_REACHED: Final = {True: "yes", False: "NO", None: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What a figure is held to: a value, or so many times its baseline."""

    value: float
    least: bool  # or most
    of_baseline: bool = False

    def reached(self, value: float, baseline: float | None) -> bool | None:
        """Tell whether a figure keeps to it; None without the baseline that it needs."""
        if self.of_baseline and not baseline:
            return None
        limit = self.value * baseline if self.of_baseline and baseline else self.value
        return value >= limit if self.least else value <= limit


def at_least(value: float, *, of_baseline: bool = False) -> Bound:
    """Hold a figure to a least value, or a least multiple of its baseline."""
    return Bound(value=value, least=True, of_baseline=of_baseline)


def at_most(value: float, *, of_baseline: bool = False) -> Bound:
    """Hold a figure to a greatest value, or a greatest multiple of its baseline."""
    return Bound(value=value, least=False, of_baseline=of_baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of a row."""

    name: str
    value: float
    unit: str
    baseline: float | None = None  # of the same run, in the same unit
    held_to: Bound | None = None
    samples: int | None = None  # that the figure was made of, where they are few

    @property
    def ratio(self) -> float | None:
        """Tell how many times the baseline it is."""
        return self.value / self.baseline if self.baseline else None

    @property
    def reached(self) -> bool | None:
        """Tell whether it keeps to what it is held to, if it is held to anything."""
        if self.held_to is None:
            return None
        return self.held_to.reached(self.value, self.baseline)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A row of the bench: its figures, or why there are none."""

    row: str
    title: str
    figures: Sequence[Figure] = ()
    error: str | None = None
    took_s: float = field(default=0.0)


def as_text(sections: Sequence[Section]) -> str:
    """Write an aligned table of at most `COLUMNS` columns."""
    lines = [_line(HEADS)]
    for section in sections:
        lines += ["", f"({section.row}) {section.title}"]
        lines += [_figure_line(figure) for figure in section.figures]
        if section.error is not None:
            lines += [f"    {line}" for line in wrap(f"ERROR {section.error}", COLUMNS - 4)]
    return "\n".join(lines)


def as_json(sections: Sequence[Section]) -> list[dict[str, object]]:
    """Write what `--json` keeps."""
    return [
        {
            "row": one.row,
            "title": one.title,
            "error": one.error,
            "took_s": one.took_s,
            "figures": [
                {**asdict(figure), "ratio": figure.ratio, "reached": figure.reached}
                for figure in one.figures
            ],
        }
        for one in sections
    ]


def _figure_line(figure: Figure) -> str:
    baseline = "" if figure.baseline is None else _value(figure.baseline, figure.unit)
    ratio = "" if figure.ratio is None else _ratio(figure.ratio)
    held = "" if figure.held_to is None else _held(figure.held_to, figure.unit)
    value = _value(figure.value, figure.unit)
    return _line((f"  {figure.name}", value, baseline, ratio, held, _REACHED[figure.reached]))


def _held(bound: Bound, unit: str) -> str:
    sign = ">=" if bound.least else "<="
    return f"{sign} {bound.value:g} x" if bound.of_baseline else f"{sign} {_round(bound, unit)}"


def _round(bound: Bound, unit: str) -> str:
    return f"{f'{bound.value:,.1f}'.removesuffix('.0')} {unit}".rstrip()


def _value(value: float, unit: str) -> str:
    digits = 0 if value >= _WHOLE or not unit else 1
    return f"{value:,.{digits}f} {unit}".rstrip()


def _ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= _WHOLE else f"{ratio:.3g}"


def _line(cells: Sequence[str]) -> str:
    first, *rest = zip(cells, _WIDTHS, strict=True)
    text = first[0].ljust(first[1]) + "".join(f" {cell:>{width}}" for cell, width in rest)
    return text.rstrip()
