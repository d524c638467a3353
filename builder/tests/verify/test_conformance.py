"""Rows of the conformance table: checks and records together, and what a record of another image is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from esb_builder.verify import CHECKS, Finding, Verdict
from esb_builder.verify.conformance import (
    FACTS,
    NOT_SHOWN,
    ROWS,
    Record,
    Records,
    document,
    exit_code,
    read,
    text,
    write,
)

IDS = {"esb-gateway": "sha256:" + "1" * 64, "esb-os-base": "sha256:" + "2" * 64}
VERDICTS = [Verdict(one.row, one.says, "esb-gateway") for one in CHECKS]
RECORDED: Records = {
    row: {fact: Record("./esb test one", IDS, "pass") for fact in facts} for row, facts in FACTS.items()
}


def statuses(records: Records, verdicts: list[Verdict] = VERDICTS) -> dict[str, str]:
    return {one["row"]: one["status"] for one in document(verdicts, IDS, records)["rows"]}


def with_record(row: str, fact: str, record: Record) -> Records:
    return {**RECORDED, row: {**RECORDED[row], fact: record}}


def test_all_rows_hold_where_checks_and_records_do() -> None:
    told = document(VERDICTS, IDS, RECORDED)
    assert [one["row"] for one in told["rows"]] == list(ROWS)
    assert {one["status"] for one in told["rows"]} == {"pass"}
    assert exit_code(told) == 0


def test_without_records_exactly_the_rows_with_facts_are_not_shown() -> None:
    found = statuses({})
    assert {row for row, status in found.items() if status == "not shown"} == set(FACTS)
    assert exit_code(document(VERDICTS, IDS, {})) == NOT_SHOWN


@pytest.mark.parametrize(("row", "fact"), [(row, fact) for row, facts in FACTS.items() for fact in facts])
def test_a_record_of_another_image_counts_as_not_shown(row: str, fact: str) -> None:
    older = replace(RECORDED[row][fact], images={**IDS, "esb-gateway": "sha256:" + "0" * 64})
    found = statuses(with_record(row, fact, older))
    assert {one for one, status in found.items() if status != "pass"} == {row}
    assert found[row] == "not shown"


def test_a_record_of_an_image_that_is_not_judged_counts_as_not_shown() -> None:
    other = replace(RECORDED["S16"]["docker build"], images={"esb-runtime-node": IDS["esb-gateway"]})
    assert statuses(with_record("S16", "docker build", other))["S16"] == "not shown"


def test_a_failed_record_fails_its_row_whatever_else_holds() -> None:
    told = document(VERDICTS, IDS, with_record("S7", "unrelated change", Record("x", IDS, "fail")))
    assert {one["row"] for one in told["rows"] if one["status"] == "fail"} == {"S7"}
    assert exit_code(told) == 5


def test_a_failed_check_fails_its_row_although_it_is_recorded() -> None:
    finding = Finding("it copies everything", "services/gateway/Dockerfile", "name each file", 3)
    verdicts = [replace(one, findings=(finding,)) if one.row == "S4" else one for one in VERDICTS]
    told = document(verdicts, IDS, RECORDED)
    assert statuses(RECORDED, verdicts)["S4"] == "fail"
    assert "services/gateway/Dockerfile:3" in text(told, verdicts)
    assert exit_code(told) == 5


def test_what_holds_beyond_the_rows_can_fail_too() -> None:
    finding = Finding("a private key is in a layer", "x", "replace it")
    verdicts = [replace(one, findings=(finding,)) if one.row == "secrets" else one for one in VERDICTS]
    assert exit_code(document(verdicts, IDS, RECORDED)) == 5


def test_stand_ins_are_told() -> None:
    verdicts = [replace(one, note="stand-ins") if one.row == "S19" else one for one in VERDICTS]
    told = document(verdicts, IDS, RECORDED)
    (line,) = [line for line in text(told, verdicts).splitlines() if line.startswith("S19")]
    assert line.split("  ")[1].strip() == "holds (stand-ins)"
    assert next(one for one in told["rows"] if one["row"] == "S19")["status"] == "pass"


def test_records_survive_being_written(tmp_path: Path) -> None:
    record = Record("./esb test one", IDS, "pass")
    write(tmp_path, "S8", "no secret", record)
    path = write(tmp_path, "S8", "another hash", replace(record, result="fail"))
    assert path == tmp_path / "records/S8.json"
    assert read(tmp_path) == {"S8": {"no secret": record, "another hash": replace(record, result="fail")}}


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"facts": {"no secret": {"command": "x", "images": {}, "result": "good"}}}']
)
def test_a_file_that_is_no_record_shows_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "records/S8.json").write_text(content)
    assert read(tmp_path) == {"S8": {}}


def test_only_facts_of_the_table_are_recorded(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no fact"):
        write(tmp_path, "S8", "something else", Record("x", IDS, "pass"))
