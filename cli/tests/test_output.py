"""What people and programs read."""

from __future__ import annotations

import io
import json
import re

import pytest
from esb_cli.output import Printer
from esb_common.errors import BadInput


def printer(*, as_json: bool) -> tuple[Printer, io.StringIO, io.StringIO]:
    out, err = io.StringIO(), io.StringIO()
    return Printer(as_json=as_json, out=out, err=err), out, err


def test_a_step_is_one_line_with_its_time() -> None:
    voice, out, err = printer(as_json=False)
    with voice.step("build the base"):
        pass
    assert re.fullmatch(r"  build the base … 0\.\d s\n", err.getvalue())
    assert out.getvalue() == ""


def test_steps_nest_and_notes_break_the_line() -> None:
    voice, _, err = printer(as_json=False)
    with voice.step("outer"), voice.step("inner"):
        voice.note("a fact")
    lines = err.getvalue().splitlines()
    assert lines[:3] == ["  outer …", "  inner …", "  a fact"]
    assert re.fullmatch(r"  inner: 0\.\d s", lines[3])
    assert re.fullmatch(r"  outer: 0\.\d s", lines[4])


def test_a_failed_step_says_so_before_the_error() -> None:
    voice, _, err = printer(as_json=False)
    with pytest.raises(BadInput) as caught, voice.step("read"):
        raise BadInput("it is empty", "fill it")
    voice.error(caught.value)
    assert re.fullmatch(r"  read … failed after 0\.\d s\nesb: it is empty\n  fill it\n", err.getvalue())


def test_programs_read_the_same_facts_as_json() -> None:
    voice, out, err = printer(as_json=True)
    with voice.step("build"):
        voice.note("a fact")
    voice.error(BadInput("it is empty", "fill it"))
    voice.result({"answer": 42}, "forty-two")
    note, step, error = map(json.loads, err.getvalue().splitlines())
    assert note == {"note": "a fact"}
    assert step["step"] == "build"
    assert not step["failed"]
    assert error == {"error": "BadInput", "fact": "it is empty", "hint": "fill it", "exit_code": 5}
    assert json.loads(out.getvalue()) == {"answer": 42}


def test_an_empty_answer_prints_nothing_for_people() -> None:
    voice, out, _ = printer(as_json=False)
    voice.result({"stopped": True}, "")
    assert out.getvalue() == ""
