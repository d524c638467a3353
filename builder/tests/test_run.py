"""The one place that starts processes: what a child gets, and what a failure says."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import pytest
from esb_builder import run
from esb_common.errors import Broken, NotPossibleHere

PATH = {"PATH": os.environ["PATH"]}


def python(code: str, *more: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code, *more)


def test_a_child_gets_exactly_the_environment_it_is_given() -> None:
    done = run.run(("env",), environ={"PATH": "/usr/bin:/bin", "ONE": "1"})
    assert sorted(done.stdout.split()) == ["ONE=1", "PATH=/usr/bin:/bin"]


def test_a_child_has_no_standard_input_unless_bytes_are_passed() -> None:
    assert run.run(("cat",), environ=PATH).stdout == ""
    assert run.run(("cat",), environ=PATH, stdin=b"given").stdout == "given"


def test_a_clean_environment_keeps_place_proxy_and_trust_but_no_secret() -> None:
    given = {"PATH": "/bin", "HTTPS_PROXY": "http://proxy:1", "SSL_CERT_FILE": "/ca", "TOKEN": "secret"}
    assert run.clean(given, MORE="1") == {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy:1",
        "SSL_CERT_FILE": "/ca",
        "LC_ALL": "C.UTF-8",
        "MORE": "1",
    }


def test_a_failure_holds_the_line_to_paste_and_the_last_words(tmp_path: Path) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    code = "import sys; print('first'); print('last words', file=sys.stderr); sys.exit(7)"
    with pytest.raises(Broken) as caught:
        run.run(python(code, "it's"), environ=PATH, cwd=folder)
    assert f"exit code 7: cd '{folder}' && {sys.executable} -c" in caught.value.fact
    assert "'it'\"'\"'s'" in caught.value.fact
    assert caught.value.fact.endswith("last words")


def test_a_failure_may_be_an_answer() -> None:
    assert run.run(python("raise SystemExit(3)"), environ=PATH, check=False).code == 3


def test_a_signal_is_named() -> None:
    with pytest.raises(Broken, match="ended by signal 9"):
        run.run(python("import os; os.kill(os.getpid(), 9)"), environ=PATH)


def test_a_missing_program_is_not_possible_here() -> None:
    with pytest.raises(NotPossibleHere, match="no-such-program is not on this machine"):
        run.run(("no-such-program",), environ=PATH)


def test_lines_come_while_the_child_runs() -> None:
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr)"
    lines: list[str] = []
    assert run.stream(python(code), environ=PATH, on_line=lines.append) == 0
    assert lines == ["one", "two"]


def test_a_failed_stream_says_its_last_lines() -> None:
    with pytest.raises(Broken, match=r"exit code 2: .*\n  why"):
        run.stream(python("print('why'); raise SystemExit(2)"), environ=PATH, on_line=lambda _line: None)


_WITH_GRANDCHILD = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def test_an_interruption_ends_the_child_and_its_children() -> None:
    seen: list[int] = []

    def interrupt(line: str) -> None:
        seen.append(os.pidfd_open(int(line)))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stream(python(_WITH_GRANDCHILD), environ=PATH, on_line=interrupt)
    assert _ends(seen[0])


def test_a_child_that_takes_too_long_is_ended() -> None:
    with pytest.raises(Broken, match="no end after 0 s"):
        run.run(python("import time; time.sleep(60)"), environ=PATH, timeout_s=0.2)


def test_a_daemon_lives_in_a_session_of_its_own_and_writes_its_log(tmp_path: Path) -> None:
    code = "import os; print(os.getsid(0) == os.getpid())"
    child = run.daemon(python(code), environ=PATH, log=tmp_path / "log")
    assert child.wait(10) == 0
    assert (tmp_path / "log").read_text() == "True\n"


def _ends(descriptor: int) -> bool:
    """Whether the process behind a pidfd ends within ten seconds."""
    try:
        return bool(select.select([descriptor], [], [], 10)[0])
    finally:
        os.close(descriptor)


def test_sigterm_first_so_that_a_child_may_clean_up(tmp_path: Path) -> None:
    code = f"""
import pathlib, signal, sys, time
def end(*_):
    pathlib.Path({str(tmp_path / "cleaned")!r}).touch()
    sys.exit(0)
signal.signal({signal.SIGTERM.value}, end)
print("ready", flush=True)
time.sleep(60)
"""

    def interrupt(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.stream(python(code), environ=PATH, on_line=interrupt)
    assert (tmp_path / "cleaned").exists()
