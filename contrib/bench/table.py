# SPDX-License-Identifier: MIT
"""The table: rows of two figures, their ratio, the bound, and whether it holds.

The law: it prints what was measured and nothing else; a figure that was not
had is shown with its reason.  It refuses to know how anything was measured.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from contests import Contest, Row

MISSED, UNMEASURED = 1, 3


@dataclass(frozen=True, slots=True)
class Figure:
    """One median in nanoseconds (p50), operations a second (rate) or bytes; or a reason."""

    unit: str
    value: float | None
    reason: str | None

    def words(self) -> str:
        """For people."""
        if self.value is None:
            return "-"
        if self.unit == "rate":
            return f"{self.value / 1000:.1f} k/s"
        if self.unit == "bytes":
            return f"{self.value / 1e6:.1f} MB"
        if self.value >= 1e6:
            return f"{self.value / 1e6:.2f} ms"
        return f"{self.value / 1000:.2f} µs"


@dataclass(frozen=True, slots=True)
class Line:
    """A row with its figures in."""

    contest: str
    row: Row
    ours: Figure
    theirs: Figure

    @property
    def ratio(self) -> float | None:
        """Ours over theirs, if both were measured."""
        if self.ours.value is None or not self.theirs.value:
            return None
        return self.ours.value / self.theirs.value

    @property
    def bound(self) -> str:
        """The bound in words, empty for a row shown for comparison."""
        if self.row.most is not None:
            return f"< {self.row.most / 1000:.3g} µs"
        if self.row.bound is None:
            return ""
        return f"{'≥' if self.row.least else '≤'} {self.row.bound:.3g}"

    @property
    def verdict(self) -> str:
        """met, missed, not measured, or empty for a row without a bound."""
        if self.row.most is not None and self.ours.value is not None:
            return "met" if self.ours.value < self.row.most else "missed"
        if self.row.bound is None and self.row.most is None:
            return ""
        if self.ratio is None or self.row.bound is None:
            return "not measured"
        if self.row.least:
            return "met" if self.ratio >= self.row.bound else "missed"
        return "met" if self.ratio <= self.row.bound else "missed"

    def cells(self) -> list[str]:
        """The six columns."""
        ratio = "-" if self.ratio is None else f"{self.ratio:.3f}"
        return [
            self.row.title, self.ours.words(), self.theirs.words(), ratio, self.bound, self.verdict
        ]  # fmt: skip


HEAD = ["figure", "measured", "against", "ratio", "bound", ""]


@dataclass(slots=True)
class Report:
    """The lines measured so far."""

    lines: list[Line] = field(default_factory=list)
    reasons: dict[str, None] = field(default_factory=dict)

    def add(self, contest: Contest, figures: dict[str, Figure]) -> None:
        """Make the rows of *contest* out of its *figures*."""
        for row in contest.rows:
            self.lines.append(Line(contest.key, row, figures[row.ours], figures[row.theirs]))
        for figure in figures.values():
            if figure.reason is not None:
                self.reasons[f"{contest.key}: {figure.reason}"] = None

    def status(self) -> int:
        """0 if every bound holds, 1 if one is missed, 3 if one could not be looked at."""
        verdicts = {line.verdict for line in self.lines}
        if "missed" in verdicts:
            return MISSED
        return UNMEASURED if "not measured" in verdicts else 0


def as_text(report: Report) -> str:
    """Columns for a terminal."""
    rows = [HEAD, *(line.cells() for line in report.lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    lines = [
        "  ".join(
            cell.rjust(width) if 0 < column < 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines += [f"not measured: {reason}" for reason in report.reasons]
    return "\n".join(lines) + "\n"


def as_markdown(report: Report) -> str:
    """A table for docs/reference/performance.md."""
    rows = [HEAD, ["---", "--:", "--:", "--:", "---", "---"]]
    rows += [line.cells() for line in report.lines]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    for reason in report.reasons:
        lines += ["", f"Not measured: {reason}"]
    return "\n".join(lines) + "\n"


def as_json(report: Report) -> str:
    """One object a row: nanoseconds, operations a second, or bytes."""
    return "".join(
        json.dumps(
            {
                "contest": line.contest,
                "figure": line.row.title,
                "ours": line.ours.value,
                "theirs": line.theirs.value,
                "unit": {"p50": "ns", "rate": "1/s"}.get(line.ours.unit, "bytes"),
                "ratio": line.ratio,
                "bound": line.row.bound,
                "verdict": line.verdict or None,
                "why": line.ours.reason or line.theirs.reason,
            }
        )
        + "\n"
        for line in report.lines
    )
