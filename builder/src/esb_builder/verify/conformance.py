"""``esb verify --conformance``: all rows S1–S23, with what only a build or a run can show, from records.

A test that shows a *fact* of a row (``tests/conformance``, marked ``shows``) leaves a record: the
command that shows it again, the ids of the images that it was shown on, and the result. A row holds when
its checks hold and each of its facts is recorded for exactly the images that are judged: a record for
another id counts for nothing, so an image that was built anew is *not shown* until its tests ran again.

Records lie in ``${ESB_HOME}/records/<row>.json``, a file a row, replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from esb_builder.verify.verdict import Finding, Status, Verdict, worst

ROWS = tuple(f"S{number}" for number in range(1, 24))

Fact = str
FACTS: Mapping[str, tuple[Fact, ...]] = {
    "S4": ("pruned tree",),
    "S5": ("lock recompiled",),
    "S7": ("unrelated change",),
    "S8": ("no secret", "wrong root CA", "another hash"),
    "S9": ("store read-only",),
    "S12": ("service starts",),
    "S16": ("docker build", "compose build"),
    "S17": ("rotation with a warm cache", "hash demanded"),
    "S18": ("uv runs",),
    "S21": ("not root", "reads its key", "mismatch explained", "root refused"),
    "S22": ("compose says root", "tunnel"),
    "S23": ("every module imports",),
}
"""What a row needs beyond its checks. The other rows are shown by archives and Dockerfiles alone."""

NOT_SHOWN = 6
"""Exit code of the command where no row fails and some are not shown."""

Result = Literal["pass", "fail"]


@dataclass(frozen=True, slots=True)
class Record:
    """One fact of a row: the command that shows it, on which images (name → id), and how that ended."""

    command: str
    images: Mapping[str, str]
    result: Result


Records = Mapping[str, Mapping[Fact, Record]]


def read(home: Path) -> Records:
    """All records of a home, by row and fact; a file that is none is as if it were not there."""
    return {row: dict(_facts(path)) for row in FACTS if (path := _path(home, row)).is_file()}


def write(home: Path, row: str, fact: Fact, record: Record) -> Path:
    """Keep one record, beside the row's others; readers see the old file or the new one."""
    assert fact in FACTS[row], f"{row} has no fact {fact!r}"
    path = _path(home, row)
    path.parent.mkdir(parents=True, exist_ok=True)
    known = dict(_facts(path)) if path.is_file() else {}
    facts = {one: _document(kept) for one, kept in sorted({**known, fact: record}.items())}
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(json.dumps({"row": row, "facts": facts}, indent=1) + "\n")
    aside.replace(path)
    return path


def document(verdicts: Sequence[Verdict], ids: Mapping[str, str], records: Records) -> dict[str, Any]:
    """Every row's status, with what it rests on."""
    rows = [_row(row, [one for one in verdicts if one.row == row], ids, records) for row in ROWS]
    more = [one for one in verdicts if one.row not in ROWS]
    beyond = [
        {"check": row, "status": worst([one for one in more if one.row == row])}
        for row in dict.fromkeys(one.row for one in more)
    ]
    return {"images": dict(ids), "rows": rows, "beyond": beyond}


def text(told: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The same for people: a line a row, then what is missing or wrong."""
    marks: Mapping[Status, str] = {"pass": "holds", "fail": "FAILS", "not shown": "not shown"}
    lines = []
    for row in told["rows"]:
        mark = marks[row["status"]] + (f" ({row['note']})" if row.get("note") else "")
        lines.append(f"{row['row']:<5} {mark:<19} {row['says']}")
    lines += [f"{one['check']:<10} {marks[one['status']]}" for one in told["beyond"]]
    for row in told["rows"]:
        lines += [f"{row['row']} {why}" for why in row["missing"]]
    for one, finding in _errors(verdicts):
        lines += [
            f"{one.row} {one.image}: {finding.what}",
            f"  where: {finding.place}",
            f"  mend:  {finding.mend}",
        ]
    return "\n".join(lines)


def exit_code(told: Mapping[str, Any]) -> int:
    """0 where all holds, 5 where anything fails, :data:`NOT_SHOWN` where something is not shown."""
    found = {one["status"] for one in (*told["rows"], *told["beyond"])}
    if "fail" in found:
        return 5
    return NOT_SHOWN if "not shown" in found else 0


def _row(row: str, mine: Sequence[Verdict], ids: Mapping[str, str], records: Records) -> dict[str, Any]:
    facts = [_fact(one, records.get(row, {}).get(one), ids) for one in FACTS.get(row, ())]
    missing = [f"{one.image}: {one.missing}" for one in mine if one.missing]
    missing += [f"{one['fact']}: {one['missing']}" for one in facts if "missing" in one]
    failing = [one["fact"] for one in facts if one["status"] == "fail"]
    status: Status = "pass"
    if failing or any(one.status == "fail" for one in mine):
        status = "fail"
    elif missing or not mine:
        status = "not shown"
    told: dict[str, Any] = {"row": row, "says": mine[0].says if mine else "", "status": status}
    told |= {"missing": missing or ([] if mine else ["no image of it was given"]), "facts": facts}
    told |= {"findings": [f"{one.image}: {finding.what} ({finding.place})" for one, finding in _errors(mine)]}
    notes = sorted({one.note for one in mine if one.note})
    return told | ({"note": ", ".join(notes)} if notes else {})


def _fact(fact: Fact, record: Record | None, ids: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {"fact": fact, "status": "not shown"}
    if record is None:
        return told | {"missing": "no test has recorded it; run: ./esb test tests/conformance"}
    told |= {"command": record.command, "images": dict(record.images)}
    others = [name for name, one in record.images.items() if ids.get(name) != one]
    if others:
        return told | {"missing": f"recorded for another {', '.join(others)}; run again: {record.command}"}
    return told | {"status": record.result}


def _errors(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, Finding]]:
    return ((one, finding) for one in verdicts for finding in one.findings if finding.level == "error")


def _path(home: Path, row: str) -> Path:
    return home / "records" / f"{row}.json"


def _document(record: Record) -> dict[str, Any]:
    return {"command": record.command, "images": dict(record.images), "result": record.result}


def _facts(path: Path) -> Iterator[tuple[Fact, Record]]:
    try:
        facts = json.loads(path.read_text())["facts"]
        found = [
            (fact, Record(one["command"], dict(one["images"]), one["result"])) for fact, one in facts.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    yield from (one for one in found if one[1].result in ("pass", "fail"))
