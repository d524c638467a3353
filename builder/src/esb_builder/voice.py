"""How a long piece of work speaks, whoever listens: a terminal, a JSON reader or a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Voice(Protocol):
    """What work may say. Results are return values and never pass through here."""

    def step(self, what: str) -> AbstractContextManager[None]:
        """Announce a step in the imperative, and its time when it ends."""

    def note(self, text: str) -> None:
        """One fact a person should know, for example a package that was installed."""


class Recorded:
    """A voice that keeps what was said, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        self.said.append(what)
        yield

    def note(self, text: str) -> None:
        self.said.append(text)
