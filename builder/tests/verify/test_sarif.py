"""Findings as SARIF 2.1.0: the required members, each result tied to its rule and to a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import families
import jsonschema
from esb_builder.plan import FAMILY
from esb_builder.verify import CHECKS, sarif
from mutations.recipes import MUTATIONS
from mutations.rows import expired, root_user

TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
PHYSICAL = {
    "type": "object",
    "required": ["artifactLocation"],
    "properties": {
        "artifactLocation": {
            "type": "object",
            "required": ["uri"],
            "properties": {"uri": {"type": "string", "format": "uri-reference"}},
        },
        "region": {"type": "object", "properties": {"startLine": {"type": "integer", "minimum": 1}}},
    },
}
RESULT = {
    "type": "object",
    "required": ["message", "ruleId", "level", "locations"],
    "properties": {
        "message": TEXT,
        "level": {"enum": ["none", "note", "warning", "error"]},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "locations": {"type": "array", "items": {"properties": {"physicalLocation": PHYSICAL}}},
    },
}
SCHEMA = {
    "type": "object",
    "required": ["version", "runs"],
    "properties": {
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["tool", "results"],
                "properties": {
                    "tool": {
                        "required": ["driver"],
                        "properties": {
                            "driver": {
                                "required": ["name", "rules"],
                                "properties": {
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": {
                                            "required": ["id", "shortDescription"],
                                            "properties": {"shortDescription": TEXT},
                                        },
                                    }
                                },
                            }
                        },
                    },
                    "results": {"type": "array", "items": RESULT},
                },
            },
        },
    },
}
"""The part of the standard's schema that our documents use."""


def run(place: Path) -> dict[str, Any]:
    """A document of wrong images and a wrong Dockerfile, held against the schema."""
    drafts = families.family()
    root_user(drafts)
    expired(drafts)
    (change,) = [one[2] for one in MUTATIONS if "COPY . /app" in one[2].new]
    with families.judged(place, drafts, change.sources()) as verdicts:
        found = sarif.document(list(verdicts.values()), {})
    jsonschema.validate(found, SCHEMA)
    one: dict[str, Any] = found["runs"][0]
    return one


def test_every_result_names_its_rule_and_its_place(tmp_path: Path) -> None:
    found = run(tmp_path)
    rules = found["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [check.row for check in CHECKS]
    assert all(rules[one["ruleIndex"]]["id"] == one["ruleId"] for one in found["results"])
    files = {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in found["results"]}
    assert files <= {image.dockerfile for image in FAMILY.values()}


def test_a_finding_in_a_dockerfile_points_at_its_line(tmp_path: Path) -> None:
    (found,) = [one for one in run(tmp_path)["results"] if one["ruleId"] == "S4"]
    place = found["locations"][0]["physicalLocation"]
    text = (Path(families.__file__).parents[1] / place["artifactLocation"]["uri"]).read_text()
    assert text.splitlines()[place["region"]["startLine"] - 1].startswith("COPY services/gateway/src")


def test_a_finding_in_an_image_names_the_image_and_the_place(tmp_path: Path) -> None:
    (found,) = [one for one in run(tmp_path)["results"] if one["ruleId"] == "S21"]
    (named,) = found["locations"][0]["logicalLocations"]
    assert named["fullyQualifiedName"] == "esb-gateway:config.User"
    assert "to mend it" in found["message"]["text"].lower()
