"""A small parent that keeps the programs of an embedded box running: ``python -m esb_cli.box.supervisor``.

It reads one JSON file (see :class:`Program`), starts each program in order, keeps a note of itself and
them current (see :class:`Note`), and starts a program again when it ends, after a delay that
doubles from :data:`FIRST_DELAY_S` to :data:`LONGEST_DELAY_S` and falls back once a program has
lived for :data:`STEADY_S`. A program whose exit code says that it can never run here (misuse, not
possible, bad input) ends the whole box instead. SIGTERM ends the programs in reverse order, each
with SIGTERM and after :data:`GRACE_S` with SIGKILL, and then the supervisor. When the supervisor
itself is killed, the kernel ends its programs (parent-death signal).

It lives as long as the box, waits in ``select`` and costs nothing between two deaths.
"""

from __future__ import annotations

import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from esb_common.errors import BadInput, Misuse, NotPossibleHere
from esb_common.log import Log, speak

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
STEADY_S = 30.0
GRACE_S = 15.0
HOPELESS = {kind.exit_code for kind in (BadInput, Misuse, NotPossibleHere)}
_PR_SET_PDEATHSIG = 1

log = Log("supervisor")


@dataclass(frozen=True, slots=True)
class Program:
    """One program: its name, arguments, whole environment and the file its output is added to."""

    name: str
    arguments: list[str]
    environment: dict[str, str] = field(repr=False)
    output: str

    def start(self) -> subprocess.Popen[bytes]:
        """Start it with a closed standard input, in a session of its own."""
        with open(self.output, "ab") as output:
            return subprocess.Popen(
                self.arguments,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent,  # this process has one thread
            )


def encode(programs: list[Program]) -> str:
    """The supervisor's input file."""
    return json.dumps([asdict(program) for program in programs], indent=1)


def decode(text: str) -> list[Program]:
    """Programs from the input file."""
    return [Program(**members) for members in json.loads(text)]


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Lives:
    """One program through its lives: running now, or waiting for its next start."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._delay_s = FIRST_DELAY_S
        self.begin(time.monotonic())

    def begin(self, now: float) -> None:
        self.process = self.program.start()
        self.pidfd = os.pidfd_open(self.process.pid)
        self.began = now
        self.due: float | None = None
        log.info("program started", name=self.program.name, pid=self.process.pid)

    def ended(self, now: float) -> int:
        """Take note of an end and set the time of the next start; the exit code."""
        code = self.process.wait()
        os.close(self.pidfd)
        self._delay_s = FIRST_DELAY_S if now - self.began >= STEADY_S else self._delay_s
        self.due = now + self._delay_s
        self._delay_s = min(self._delay_s * 2, LONGEST_DELAY_S)
        log.warning("program ended", name=self.program.name, code=code, again_in_s=self.due - now)
        return code

    def finish(self) -> None:
        """End it for good."""
        if self.due is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            log.error("program did not end, killed", name=self.program.name)
            self.process.kill()
            self.process.wait()
        os.close(self.pidfd)
        log.info("program stopped", name=self.program.name)


@dataclass(frozen=True, slots=True)
class Note:
    """What a supervisor says of itself: its process and when that began, why it runs, whom it runs."""

    pid: int
    began: str
    fingerprint: str
    programs: dict[str, int]

    def write(self, path: Path) -> None:
        """Replace the note at ``path`` in one step."""
        aside = path.with_suffix(".new")
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(path)

    def alive(self) -> bool:
        """Whether that very process is still there."""
        return bool(self.began) and began(self.pid) == self.began


def read_note(path: Path) -> Note | None:
    """The note at ``path``; None where there is none that can be read."""
    try:
        return Note(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def began(pid: int) -> str:
    """A process's start time in clock ticks since boot; empty where it is gone or a zombie.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html, fields 3 and 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] == "Z" else fields[19]


def supervise(programs: list[Program], note: Path, fingerprint: str) -> None:
    """Run until SIGTERM or SIGINT. ``note`` (see :class:`Note`) is kept current and removed at the end."""
    wake, signalled = os.pipe()
    os.set_blocking(signalled, False)
    signal.set_wakeup_fd(signalled)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(wake, selectors.EVENT_READ, None)
    lives = [Lives(program) for program in programs]
    for life in lives:
        selector.register(life.pidfd, selectors.EVENT_READ, life)
    _tell(lives, note, fingerprint)
    while _turn(selector, lives):
        _tell(lives, note, fingerprint)
    for life in reversed(lives):
        life.finish()
    note.unlink()


def _tell(lives: list[Lives], note: Path, fingerprint: str) -> None:
    own = os.getpid()
    programs = {life.program.name: life.process.pid for life in lives if life.due is None}
    Note(own, began(own), fingerprint, programs).write(note)


def _turn(selector: selectors.BaseSelector, lives: list[Lives]) -> bool:
    """Wait for one thing and act on it; False once a signal asked for the end, or nothing else helps."""
    waiting = [life.due for life in lives if life.due is not None]
    timeout = max(0.0, min(waiting) - time.monotonic()) if waiting else None
    for key, _ in selector.select(timeout):
        if key.data is None:
            return False
        selector.unregister(key.fd)
        if key.data.ended(time.monotonic()) in HOPELESS:
            log.error("starting again cannot help, the box ends", name=key.data.program.name)
            return False
    now = time.monotonic()
    for life in lives:
        if life.due is not None and life.due <= now:
            life.begin(now)
            selector.register(life.pidfd, selectors.EVENT_READ, life)
    return True


def main() -> None:
    speak("info")
    listing, note, fingerprint = sys.argv[1:]
    supervise(decode(Path(listing).read_text()), Path(note), fingerprint)


if __name__ == "__main__":
    main()
