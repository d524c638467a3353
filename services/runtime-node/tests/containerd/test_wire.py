"""The committed messages are what the description of the wire gives, byte for byte."""

from __future__ import annotations

import runpy
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "generate.py"


def test_generating_again_changes_nothing() -> None:
    program = runpy.run_path(str(PROGRAM))
    committed = {path.name: path.read_text() for path in program["WIRE"].glob("*_pb2.py*")}
    assert program["generate"]() == committed
