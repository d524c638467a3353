"""Writes what a conformance test has shown as a record, for ``esb verify --conformance``.

A test marked ``shows(ROW, FACT, IMAGE…)`` shows one fact of one row; no image named means all of them. A
record is written once all parameters of that test have run: *pass* where all passed, *fail*
where one failed, nothing where one was skipped or left out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from esb_builder.verify import conformance

Shown = tuple[str, str]
"""A row and one of its facts."""


@dataclass
class Recording:
    """One test session: what it will show, what it has shown, and of which images."""

    home: Path | None = None
    ids: Mapping[str, str] = field(default_factory=dict)
    planned: dict[Shown, int] = field(default_factory=lambda: defaultdict(int))
    outcomes: dict[Shown, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    passed: set[Shown] = field(default_factory=set)

    def plan(self, items: Sequence[pytest.Item]) -> None:
        """Count what was collected, before anything is left out of it."""
        for item in items:
            if "[" not in item.nodeid or item.nodeid not in item.config.args:
                for shown, _ in facts(item):
                    self.planned[shown] += 1

    def hear(self, item: pytest.Item, report: pytest.TestReport) -> None:
        """Take a report in, and write the record that it completes."""
        for shown, images in facts(item):
            known = self.outcomes[shown]
            if report.when == "call":
                known[item.nodeid] = report.outcome
            elif report.outcome != "passed":  # what was to be tested was not there
                known.setdefault(item.nodeid, "skipped")
            if report.when == "teardown" and self.home and len(known) == self.planned[shown]:
                self._write(self.home, shown, images, item)

    def _write(self, home: Path, shown: Shown, images: Sequence[str], item: pytest.Item) -> None:
        found = set(self.outcomes[shown].values())
        if "skipped" in found:
            return
        ids = {name: self.ids[name] for name in images or self.ids}
        command = f"./esb test {item.nodeid.partition('[')[0]}"
        result: conformance.Result = "fail" if "failed" in found else "pass"
        conformance.write(home, *shown, conformance.Record(command, ids, result))
        if result == "pass":
            self.passed.add(shown)


def facts(item: pytest.Item) -> Iterator[tuple[Shown, Sequence[str]]]:
    for mark in item.iter_markers("shows"):
        row, fact, *images = mark.args
        yield (row, fact), images
