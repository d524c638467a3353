"""Findings as SARIF 2.1.0, which code hosts and editors show beside the line that is wrong.

A finding in a Dockerfile points at its line; one in an image has no file to point at in the
checkout, so it points at the image's Dockerfile and names the place in words.

Format: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from esb_builder.plan import FAMILY
from esb_builder.verify.verdict import Finding, Verdict

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def document(verdicts: Sequence[Verdict], ids: Mapping[str, str]) -> dict[str, Any]:
    """One run: a rule a row, a result a finding."""
    rules = {one.row: {"id": one.row, "shortDescription": {"text": one.says}} for one in verdicts}
    numbers = {row: number for number, row in enumerate(rules)}
    driver = {"name": "esb verify", "rules": list(rules.values())}
    run = {
        "tool": {"driver": driver},
        "columnKind": "utf16CodeUnits",
        "originalUriBaseIds": {"CHECKOUT": {"description": {"text": "the checkout of ESB"}}},
        "properties": {"images": dict(ids)},
        "results": [_result(one, finding, numbers[one.row]) for one, finding in _each(verdicts)],
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _each(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, Finding]]:
    return ((verdict, finding) for verdict in verdicts for finding in verdict.findings)


def _result(verdict: Verdict, finding: Finding, rule: int) -> dict[str, Any]:
    text = f"{verdict.image}: {finding.what} ({finding.place}). To mend it: {finding.mend}"
    return {
        "ruleId": verdict.row,
        "ruleIndex": rule,
        "level": finding.level,
        "message": {"text": text},
        "locations": [_location(verdict, finding)],
        "properties": {"image": verdict.image, "where": finding.place, "mend": finding.mend},
    }


def _location(verdict: Verdict, finding: Finding) -> dict[str, Any]:
    if finding.line:
        artifact = {"uri": finding.where, "uriBaseId": "CHECKOUT"}
        return {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": finding.line}}}
    image = FAMILY.get(verdict.image)
    place = {"artifactLocation": {"uri": image.dockerfile, "uriBaseId": "CHECKOUT"}} if image else None
    named = {"logicalLocations": [{"fullyQualifiedName": f"{verdict.image}:{finding.where}"}]}
    return {**({"physicalLocation": place} if place else {}), **named}
