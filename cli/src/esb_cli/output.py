"""What the command line says: results to standard output, everything else to standard error.

For people, a step is a line that ends with its time. With ``--json`` the result is one JSON
object on standard output, and steps, notes and errors are one JSON object a line on standard
error, so that a program reads the same facts.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from esb_common.errors import EsbError


class Printer:
    """The voice of one run, for people or (``as_json``) for programs."""

    def __init__(self, *, as_json: bool, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.as_json = as_json
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._open = False  # whether a step's line still waits for its time

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Announce a step, then print its time; steps may nest."""
        began = time.monotonic()
        self._begin(what)
        try:
            yield
        except BaseException:
            self._end(what, time.monotonic() - began, failed=True)
            raise
        self._end(what, time.monotonic() - began, failed=False)

    def note(self, text: str) -> None:
        """One fact a person should know."""
        if self.as_json:
            self._tell({"note": text})
        else:
            self._line(f"  {text}")

    def result(self, facts: Mapping[str, Any], text: str) -> None:
        """The command's answer: ``facts`` as JSON, or ``text`` (no newline at its end) for people."""
        answer = json.dumps(facts, indent=1, default=str) if self.as_json else text
        if answer:
            self._out.write(answer + "\n")
            self._out.flush()

    def error(self, error: EsbError) -> None:
        """A failure, as a fact and a hint."""
        if self.as_json:
            self._tell(
                {
                    "error": type(error).__name__,
                    "fact": error.fact,
                    "hint": error.hint,
                    "exit_code": error.exit_code,
                }
            )
            return
        self._line(f"esb: {error.fact}")
        if error.hint:
            self._line(f"  {error.hint}")

    def _begin(self, what: str) -> None:
        if self.as_json:
            return
        self._close()
        self._err.write(f"  {what} …")
        self._err.flush()
        self._open = True

    def _end(self, what: str, seconds: float, *, failed: bool) -> None:
        if self.as_json:
            self._tell({"step": what, "seconds": round(seconds, 3), "failed": failed})
            return
        said = f"{'failed after ' if failed else ''}{seconds:.1f} s"
        self._err.write(f" {said}\n" if self._open else f"  {what}: {said}\n")
        self._err.flush()
        self._open = False

    def _line(self, text: str) -> None:
        self._close()
        self._err.write(text + "\n")
        self._err.flush()

    def _close(self) -> None:
        if self._open:
            self._err.write("\n")
            self._open = False

    def _tell(self, facts: Mapping[str, Any]) -> None:
        self._err.write(json.dumps(facts, default=str) + "\n")
        self._err.flush()
