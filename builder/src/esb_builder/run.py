"""The one place of builder and command line that starts processes.

A child gets exactly the environment it is given, no standard input unless bytes are passed,
and a session of its own, so that Ctrl-C ends it with all its children: the group first gets
SIGTERM and, :data:`GRACE_S` later, SIGKILL. A command that fails becomes one
:class:`~esb_common.errors.Broken` holding the line to paste and the last lines it wrote.

Arguments show up in errors and in the process list, so a secret is never an argument.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from esb_common.errors import Broken, NotPossibleHere

GRACE_S = 5.0
LAST_LINES = 12

PROXY = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PERSON = ("HOME", "PATH", "USER", "LOGNAME", "TMPDIR", "XDG_RUNTIME_DIR", *PROXY, *TRUST)


@dataclass(frozen=True, slots=True)
class Completed:
    """A process that ended: exit code (negative: the signal) and what it wrote, as UTF-8."""

    code: int
    stdout: str
    stderr: str


def clean(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """What a tool may know of ``environ``: the person's place, proxy and trust; English messages."""
    return {name: environ[name] for name in _PERSON if name in environ} | {"LC_ALL": "C.UTF-8"} | more


def pasteable(args: Sequence[str | Path], cwd: Path | None = None) -> str:
    """The command as one line for a shell."""
    line = shlex.join(map(str, args))
    return f"cd {shlex.quote(str(cwd))} && {line}" if cwd else line


def run(
    args: Sequence[str | Path],
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes | None = None,
    check: bool = True,
    timeout_s: float | None = None,
) -> Completed:
    """Run to the end and keep the output. Broken where it fails (``check``) or takes too long."""
    with _child(
        args,
        environ,
        cwd,
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            out, err = child.communicate(stdin, timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise Broken(f"no end after {timeout_s:.0f} s: {pasteable(args, cwd)}") from None
    done = Completed(child.returncode, out.decode(errors="replace"), err.decode(errors="replace"))
    if check:
        _refuse_failure(args, cwd, done.code, (done.stderr.strip() or done.stdout.strip()).splitlines())
    return done


def stream(
    args: Sequence[str | Path],
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    on_line: Callable[[str], None],
    check: bool = True,
) -> int:
    """Run and hand each line (output and error, merged) to ``on_line`` as it comes; the exit code."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    with _child(
        args, environ, cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        assert child.stdout is not None
        for raw in child.stdout:
            line = raw.decode(errors="replace").rstrip()
            last.append(line)
            on_line(line)
        child.wait()
    if check:
        _refuse_failure(args, cwd, child.returncode, list(last))
    return child.returncode


def show(args: Sequence[str | Path], *, environ: Mapping[str, str], cwd: Path | None = None) -> int:
    """Run with our own output and error, for what a person watches; the exit code."""
    with _child(args, environ, cwd, stdin=subprocess.DEVNULL, stdout=None, stderr=None) as child:
        return child.wait()


def daemon(args: Sequence[str | Path], *, environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start what outlives us: own session, output appended to ``log``. The caller records its identity."""
    with log.open("ab") as output, _clear(args):
        return _open(args, environ, None, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


class _Child(subprocess.Popen[bytes]):
    """A child that does not outlive a signal which arrives while it is being started."""

    def __init__(self, *args: Any, **options: Any) -> None:
        try:
            with _signals_held():
                super().__init__(*args, **options)
        except BaseException:
            if getattr(self, "pid", None) and self.returncode is None:
                _end_group(self)
            raise


@contextmanager
def _signals_held() -> Iterator[None]:
    """Act on a signal that comes meanwhile only at the end.

    A fork returns to us after the child may have run for a while; a handler that raised in between would
    lose the child's number.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    kept = {number: handler for number, handler in kept.items() if callable(handler)}
    for number in kept:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)


def _open(
    args: Sequence[str | Path],
    environ: Mapping[str, str],
    cwd: Path | None,
    *,
    stdin: int,
    stdout: int | IO[bytes] | None,
    stderr: int | IO[bytes] | None,
) -> subprocess.Popen[bytes]:
    return _Child(
        list(map(str, args)),
        env=dict(environ),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


@contextmanager
def _child(
    args: Sequence[str | Path],
    environ: Mapping[str, str],
    cwd: Path | None,
    *,
    stdin: int,
    stdout: int | None,
    stderr: int | None,
) -> Iterator[subprocess.Popen[bytes]]:
    with _clear(args):
        child = _open(args, environ, cwd, stdin=stdin, stdout=stdout, stderr=stderr)
    with child:
        try:
            yield child
        except BaseException:
            _end_group(child)
            raise


@contextmanager
def _clear(args: Sequence[str | Path]) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise NotPossibleHere(f"{error.filename or args[0]} is not on this machine") from None
    except PermissionError as error:
        raise NotPossibleHere(f"{error.filename or args[0]} may not be run here") from None


def _end_group(child: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_S)
            return


def _refuse_failure(args: Sequence[str | Path], cwd: Path | None, code: int, lines: list[str]) -> None:
    if code == 0:
        return
    how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    tail = "\n  ".join(lines[-LAST_LINES:])
    raise Broken(f"{how}: {pasteable(args, cwd)}" + (f"\n  {tail}" if tail else ""))
