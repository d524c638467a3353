"""A small parent that keeps the programs of an embedded box running: ``python -m esb_cli.box.supervisor``.

It reads one JSON file (see :class:`Program`), starts each program in order, keeps a second file
with their process ids current, and starts a program again when it ends, after a delay that
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


def supervise(programs: list[Program], note: Path) -> None:
    """Run until SIGTERM or SIGINT. ``note`` always says which process is which program."""
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
    _tell(lives, note)
    while _turn(selector, lives):
        _tell(lives, note)
    note.unlink()
    for life in reversed(lives):
        life.finish()


def _tell(lives: list[Lives], note: Path) -> None:
    aside = note.with_suffix(".new")
    aside.write_text(json.dumps({life.program.name: life.process.pid for life in lives if life.due is None}))
    aside.replace(note)


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
    listing, note = map(Path, sys.argv[1:])
    supervise(decode(listing.read_text()), note)


if __name__ == "__main__":
    main()
