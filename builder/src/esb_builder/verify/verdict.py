"""What a check says of an image: holds, does not hold and why, or cannot be shown with what was given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["pass", "fail", "not shown"]
Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: what, where in the image or the checkout, and how to mend it.

    ``line`` is where in a file of the checkout, from 1; 0 where the place is in the image. A *warning*
    says what will be wrong, and fails no row.
    """

    what: str
    where: str
    mend: str
    line: int = 0
    level: Level = "error"

    @property
    def place(self) -> str:
        return f"{self.where}:{self.line}" if self.line else self.where


@dataclass(frozen=True, slots=True)
class Verdict:
    """One row of the conformance table on one image.

    ``missing`` says what a *not shown* lacked, ``note`` what a reader must know where the row holds.
    """

    row: str
    says: str
    image: str
    findings: tuple[Finding, ...] = ()
    missing: str = ""
    note: str = ""

    @property
    def status(self) -> Status:
        if self.missing:
            return "not shown"
        return "fail" if any(one.level == "error" for one in self.findings) else "pass"

    @property
    def warns(self) -> bool:
        return any(one.level == "warning" for one in self.findings)


def document(verdicts: Sequence[Verdict], ids: Mapping[str, str]) -> dict[str, Any]:
    """The verdicts for programs: one entry a row, the worst of its images deciding, details below."""
    rows = []
    for row in dict.fromkeys(verdict.row for verdict in verdicts):
        mine = [verdict for verdict in verdicts if verdict.row == row]
        rows.append(
            {
                "row": row,
                "says": mine[0].says,
                "status": worst(mine),
                "images": [_detail(one) for one in mine],
            }
        )
    return {"images": dict(ids), "rows": rows}


def table(verdicts: Sequence[Verdict], ids: Mapping[str, str]) -> str:
    """The verdicts for people: the images with their ids, a line a row, findings below the table."""
    names = list(ids)
    grid = [["row", *(name.removeprefix("esb-") for name in names), "says"]]
    for row in dict.fromkeys(verdict.row for verdict in verdicts):
        mine = {verdict.image: verdict for verdict in verdicts if verdict.row == row}
        cells = [_mark(mine[name]) if name in mine else "–" for name in names]
        grid.append([row, *cells, next(iter(mine.values())).says])
    widths = [max(map(len, column)) + 2 for column in zip(*grid, strict=True)]
    lines = [f"{name:<30} {ids[name]}" for name in names]
    lines += ["", *("".join(map(str.ljust, line, widths)).rstrip() for line in grid)]
    lines += [line for verdict in verdicts for line in _explained(verdict)]
    return "\n".join(lines)


def _mark(verdict: Verdict) -> str:
    marks: Mapping[Status, str] = {"pass": "holds", "fail": "FAILS", "not shown": "not shown"}
    told = [verdict.note, "warns" if verdict.warns else ""] if verdict.status == "pass" else []
    noted = ", ".join(filter(None, told))
    return marks[verdict.status] + (f" ({noted})" if noted else "")


def worst(verdicts: Sequence[Verdict]) -> Status:
    """The status that decides for several verdicts."""
    order: tuple[Status, ...] = ("fail", "not shown", "pass")
    present = {verdict.status for verdict in verdicts}
    return next(status for status in order if status in present)


def _detail(verdict: Verdict) -> dict[str, Any]:
    findings = [
        {"level": one.level, "what": one.what, "where": one.place, "mend": one.mend}
        for one in verdict.findings
    ]
    detail: dict[str, Any] = {"image": verdict.image, "status": verdict.status, "findings": findings}
    told = {"missing": verdict.missing, "note": verdict.note}
    return detail | {name: text for name, text in told.items() if text}


def _explained(verdict: Verdict) -> list[str]:
    lines = []
    if verdict.missing:
        lines = ["", f"{verdict.row} {verdict.image}: not shown, {verdict.missing}"]
    for finding in verdict.findings:
        warned = "warning: " if finding.level == "warning" else ""
        lines += ["", f"{verdict.row} {verdict.image}: {warned}{finding.what}", f"  where: {finding.place}"]
        lines += [f"  mend:  {finding.mend}"]
    return lines
