"""The bootstrap in an interpreter of its own, with a stand-in for AWS's client."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BOOTSTRAP = Path(__file__).parents[1] / "src" / "bootstrap.py"

CLIENT = """
import os, sys
def main(arguments):
    print("served", *arguments[1:], sys.path[0])
    print("also here", file=sys.stderr)
    print(sorted(name for name in os.environ if name.startswith("_ESB")))
    os._exit(0)  # without Python's own flushing: what was printed must be out already
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    package = tmp_path / "awslambdaric"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(CLIENT)
    return {"PYTHONPATH": str(tmp_path), "LAMBDA_TASK_ROOT": "/var/task", "_HANDLER": "app.handler"}


def run(environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, str(BOOTSTRAP)], env=environment, capture_output=True, timeout=20, check=True
    )


def test_the_client_serves_the_handler_with_the_code_first_on_the_path(environment: dict[str, str]) -> None:
    done = run(environment)
    assert done.stdout == b"served app.handler /var/task\n[]\n"
    assert done.stderr == b"also here\n"


def test_output_goes_to_the_named_pipe_and_the_name_is_gone(
    environment: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "output"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    done = run(environment | {"_ESB_OUTPUT": str(path)})
    assert (done.stdout, done.stderr) == (b"", b"")
    assert os.read(reader, 4096) == b"served app.handler /var/task\nalso here\n[]\n"
    os.close(reader)
