"""The supervisor as a real process over small shell programs."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from esb_cli.box.supervisor import HOPELESS, Note, Program, began, decode, encode, read_note

ROOT = Path(__file__).parents[3]
WAIT_S = 20


class Supervised:
    """A running supervisor whose programs write lines into one pipe that the test reads."""

    def __init__(self, folder: Path, *scripts: str) -> None:
        self.fifo = folder / "said"
        os.mkfifo(self.fifo)
        self.said = os.fdopen(os.open(self.fifo, os.O_RDWR), "rb", buffering=0)
        programs = [
            Program(f"p{index}", ["/bin/sh", "-c", script], {"SAID": str(self.fifo)}, str(folder / "log"))
            for index, script in enumerate(scripts)
        ]
        self.note = folder / "running.json"
        (folder / "programs.json").write_text(encode(programs))
        paths = [ROOT / "cli/src", ROOT / "builder/src", ROOT / "services/common/src"]
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "esb_cli.box.supervisor",
                folder / "programs.json",
                self.note,
                "mark",
            ],
            env={"PYTHONPATH": os.pathsep.join(map(str, paths))},
        )

    def line(self) -> str:
        """The next line; fails after WAIT_S."""
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.said], [], [], WAIT_S)
            assert ready, f"nothing said in {WAIT_S} s"
            line += self.said.read(1)
        return line.decode().strip()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[list[Supervised]]:
    started: list[Supervised] = []
    yield started
    for one in started:
        one.process.kill()
        one.process.wait()
        one.said.close()


def test_programs_survive_the_file(tmp_path: Path) -> None:
    programs = [Program("node", ["a", "b"], {"X": "1"}, "/log")]
    assert decode(encode(programs)) == programs


def test_a_program_that_ends_is_started_again(tmp_path: Path, supervised: list[Supervised]) -> None:
    one = Supervised(tmp_path, "echo here >$SAID")
    supervised.append(one)
    assert [one.line(), one.line(), one.line()] == ["here"] * 3


def test_sigterm_ends_the_programs_in_reverse_order(tmp_path: Path, supervised: list[Supervised]) -> None:
    script = "trap 'echo end {0} >$SAID; exit' TERM; echo up {0} >$SAID; while :; do read x <$SAID.none; done"
    os.mkfifo(tmp_path / "said.none")
    one = Supervised(tmp_path, script.format("node"), script.format("gateway"))
    supervised.append(one)
    assert {one.line(), one.line()} == {"up node", "up gateway"}
    one.process.send_signal(signal.SIGTERM)
    os.close(os.open(tmp_path / "said.none", os.O_RDWR))
    assert [one.line(), one.line()] == ["end gateway", "end node"]
    assert one.process.wait(WAIT_S) == 0


@pytest.mark.parametrize("code", sorted(HOPELESS))
def test_a_program_that_can_never_run_here_ends_the_box(
    tmp_path: Path, supervised: list[Supervised], code: int
) -> None:
    os.mkfifo(tmp_path / "said.none")
    os.mkfifo(tmp_path / "said.go")
    steady = "trap 'echo ended >$SAID; exit' TERM; echo up >$SAID; read x <$SAID.none"
    one = Supervised(tmp_path, steady, f"read x <$SAID.go; exit {code}")
    supervised.append(one)
    assert one.line() == "up"
    (tmp_path / "said.go").write_text("go\n")
    assert one.line() == "ended"
    assert one.process.wait(WAIT_S) == 0


def test_the_note_says_which_process_is_which(tmp_path: Path, supervised: list[Supervised]) -> None:
    one = Supervised(tmp_path, "echo $$ >$SAID; read x <$SAID.none")
    os.mkfifo(tmp_path / "said.none")
    supervised.append(one)
    first = int(one.line())
    os.kill(first, signal.SIGKILL)
    second = int(one.line())
    while (noted := read_note(one.note)) is None or noted.programs != {"p0": second}:
        assert noted is None or noted.programs in ({}, {"p0": first})
    assert (noted.pid, noted.fingerprint, noted.alive()) == (one.process.pid, "mark", True)


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"pid": 1}'])
def test_a_note_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "note").write_text(text)
    assert read_note(tmp_path / "note") is None
    assert read_note(tmp_path / "none") is None


def test_a_process_is_known_by_its_start_and_not_by_its_number_alone() -> None:
    own = os.getpid()
    assert Note(own, began(own), "", {}).alive()
    assert not Note(own, "1", "", {}).alive()
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    assert not Note(gone.pid, began(gone.pid), "", {}).alive()


def test_programs_die_with_a_killed_supervisor(tmp_path: Path, supervised: list[Supervised]) -> None:
    one = Supervised(
        tmp_path, "trap 'echo orphan ended >$SAID; exit' TERM; echo up >$SAID; read x <$SAID.none"
    )
    os.mkfifo(tmp_path / "said.none")
    supervised.append(one)
    assert one.line() == "up"
    one.process.kill()
    assert one.line() == "orphan ended"
