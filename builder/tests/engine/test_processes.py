"""A process is known by what it is, never by its number alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from esb_builder.engine import processes


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A program of its own folder that would run for a minute."""
    program = tmp_path / "prefix/sleeper"
    program.parent.mkdir()
    program.write_bytes(Path("/bin/sleep").read_bytes())
    program.chmod(0o755)
    with subprocess.Popen([str(program), "60"]) as child:
        yield child, program
        child.kill()


def test_a_process_is_found_by_the_program_it_runs(sleeper: tuple[subprocess.Popen[bytes], Path]) -> None:
    child, program = sleeper
    assert [who.pid for who in processes.running_from(program.parent)] == [child.pid]
    assert [who.pid for who in processes.running_from(program)] == [child.pid]


def test_a_program_that_was_replaced_is_still_found(sleeper: tuple[subprocess.Popen[bytes], Path]) -> None:
    child, program = sleeper
    program.unlink()
    assert [who.pid for who in processes.running_from(program.parent)] == [child.pid]


def test_ending_waits_until_the_process_is_gone(sleeper: tuple[subprocess.Popen[bytes], Path]) -> None:
    child, program = sleeper
    processes.end(processes.running_from(program.parent), grace_s=10)
    assert child.wait(0) == -15
    assert processes.running_from(program.parent) == []


def test_a_process_that_ignores_the_polite_signal_is_killed() -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        who = processes.identity(child.pid)
        assert who is not None
        processes.end([who], grace_s=0.2)
        assert child.wait(5) == -9


def test_another_process_with_the_same_number_is_left_alone(
    sleeper: tuple[subprocess.Popen[bytes], Path],
) -> None:
    child, _ = sleeper
    processes.end([processes.Identity(child.pid, started=1)], grace_s=0.1)
    assert child.poll() is None


def test_nobody_has_the_number_of_an_ended_process() -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    assert processes.identity(child.pid) is None
    me = processes.identity(os.getpid())
    assert me is not None
    assert processes.alive(me)
