"""The note of which generation is being switched to, so that a switch always ends as old or as new."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from esb_common.errors import BadInput, Misuse

from esb_builder.ca import Folders, files
from esb_builder.rotation.generation import Generation

Act = Callable[[Generation], None]
"""Bring a generation into force: files, tags, box. It may be broken off anywhere and is safe to repeat."""


@dataclass(frozen=True, slots=True)
class _State:
    """Names of folders: the generation that must come into force, if any, and the one before."""

    target: str | None = None
    previous: str | None = None


class Ledger:
    """The generations of one authority's folder, and the note."""

    def __init__(self, folders: Folders) -> None:
        self._authority = folders.authority
        self._generations = folders.authority / "generations"
        self._note = folders.authority / "rotation.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """One rotation at a time. Misuse where another is under way."""
        files.folder(self._authority, 0o700)
        with (self._authority / "rotation.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Misuse("another ./esb is changing the root CA at this moment", "let it end") from None
            yield

    def room(self) -> Path:
        """An empty folder for a generation; swept away unless a switch names it."""
        files.folder(self._generations, 0o700)
        return Path(tempfile.mkdtemp(prefix="ca-", dir=self._generations))

    @property
    def previous(self) -> Generation:
        """The generation before the one in force. BadInput where there is none."""
        name = self._read().previous
        if name is None:
            raise BadInput("there is no root CA to go back to", "only ./esb ca rotate leaves one behind")
        return Generation(self._generations / name)

    @property
    def unfinished(self) -> bool:
        """Whether a switch was broken off for good (``kill -9``, power)."""
        return self._read().target is not None

    def switch(self, old: Generation, new: Generation, act: Act) -> None:
        """Let ``act`` bring ``new`` into force; where it fails or is interrupted, ``old`` again."""
        before = self._read()
        self._write(_State(new.folder.name, old.folder.name))
        try:
            act(new)
        except BaseException:
            self._write(_State(old.folder.name, before.previous))
            act(old)
            self._write(_State(None, before.previous))
            raise
        self._write(_State(None, old.folder.name))
        self.sweep()

    def settle(self, act: Act) -> None:
        """Finish a switch that was broken off; nothing where none was."""
        state = self._read()
        if state.target is not None:
            act(Generation(self._generations / state.target))
            self._write(_State(None, state.previous))

    def sweep(self) -> None:
        """Remove generations that nothing names any more, keys included."""
        named = set(asdict(self._read()).values())
        for folder in self._generations.glob("ca-*"):
            if folder.name not in named:
                shutil.rmtree(folder)

    def _read(self) -> _State:
        content = files.read(self._note)
        return _State(**json.loads(content)) if content else _State()

    def _write(self, state: _State) -> None:
        files.write(self._note, json.dumps(asdict(state)).encode(), 0o600)
        descriptor = os.open(self._authority, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
