"""One exception tree for the whole house.

    EsbError                 something a person can act on: a fact and a hint
    ├── Misuse               the command line or a setting is wrong           exit 2
    ├── NotPossibleHere      this machine cannot do it; other ways are named   exit 3
    ├── Unhealthy            the box (or a part of it) does not answer         exit 4
    ├── BadInput             a file, certificate or archive is not acceptable  exit 5
    └── Broken               our own part failed: a build step, a child        exit 1

An error states *what is wrong* (``fact``) and *what to do* (``hint``); neither ever holds a
secret. A function's failure is not an exception but a value (see ``outcome`` in the gateway).
"""

from __future__ import annotations

from typing import ClassVar


class EsbError(Exception):
    """A failure with a fact, a hint and an exit code.

    ``fact`` is one sentence without a trailing newline; ``hint`` may be empty only where the
    fact already says what to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, fact: str, hint: str = "") -> None:
        super().__init__(fact)
        self.fact = fact
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.fact}\n  {self.hint}" if self.hint else self.fact


class Broken(EsbError):
    """A step of ours failed although its input was fine."""

    exit_code = 1


class Misuse(EsbError):
    """A command line or setting that cannot be meant."""

    exit_code = 2


class NotPossibleHere(EsbError):
    """This machine lacks something; the hint names every way on."""

    exit_code = 3


class Unhealthy(EsbError):
    """The box, or the part that was asked, does not answer."""

    exit_code = 4


class BadInput(EsbError):
    """A file, certificate, archive or message that we refuse, with nothing changed."""

    exit_code = 5
