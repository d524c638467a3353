"""Python environments of the other programs, each exactly what its lock file says.

An environment lies in ``.esb/<name>`` of the checkout and carries a stamp: the digest of its
lock, of the interpreter and of how it is made. While the stamp fits, asking costs one small
read. Otherwise it is built aside by the pinned uv and renamed into place, under a lock, so
that a broken-off run costs nothing and two at once do not meet. Packages come from the index
that pip or uv is configured with; their hashes are required.
"""

from __future__ import annotations

import fcntl
import hashlib
import py_compile
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from esb_builder import offline, run
from esb_builder.voice import Voice
from esb_common import settings
from esb_common.errors import NotPossibleHere

Name = Literal["gateway", "node", "test", "referees"]
LOCKS: Mapping[Name, str] = {
    "gateway": "services/gateway/requirements.lock",
    "node": "services/runtime-node/requirements.lock",
    "test": "tests/requirements.lock",
    "referees": "tests/referees/requirements.lock",
}
RUNTIME_LOCK = "services/worker/requirements.lock"
BOOTSTRAP = "services/worker/src/bootstrap.py"

_RECIPE = "1"
"""Changes whenever the way of making them does."""


class Environments:
    """The environments of one checkout (``repository``)."""

    def __init__(self, repository: Path, environ: Mapping[str, str], voice: Voice) -> None:
        self._repository = repository
        self._environ = environ
        self._voice = voice
        self._own = repository / ".esb"

    @property
    def uv(self) -> Path:
        """The pinned uv that the launcher fetched."""
        return self._own / "uv/bin/uv"

    def environment(self, name: Name) -> Path:
        """The virtual environment of a program; its interpreter is ``bin/python``."""
        lock = self._repository / LOCKS[name]

        def fill(aside: Path) -> None:
            self._uv("venv", "--quiet", "--no-project", "--relocatable", "--python", _interpreter(), aside)
            compiled = () if name == "test" else ("--compile-bytecode",)
            arguments = ("--quiet", "--require-hashes", *compiled, "--python", aside / "bin/python", lock)
            self._uv("pip", "sync", *self._source(lock), *arguments)

        return self._made(name, [lock], fill)

    def runtime(self) -> Path:
        """The folder shown to workers as ``/var/runtime``: AWS's runtime client, boto3, our bootstrap."""
        return self.target_folder("runtime", self._repository / RUNTIME_LOCK, self._repository / BOOTSTRAP)

    def target_folder(self, name: str, lock: Path, *files: Path) -> Path:
        """A plain folder with the packages of ``lock`` and copies of ``files``."""

        def fill(aside: Path) -> None:
            arguments = ("--quiet", "--require-hashes", "--compile-bytecode", "--python", sys.executable)
            self._uv("pip", "install", *self._source(lock), *arguments, "--target", aside, "-r", lock)
            for file in files:
                copied = shutil.copyfile(file, aside / file.name)
                py_compile.compile(str(copied), doraise=True)

        return self._made(name, [lock, *files], fill)

    def _source(self, lock: Path) -> tuple[str | Path, ...]:
        """Where packages come from: wheels that a bundle brought for this very lock, else the index."""
        wheels = offline.wheels_for(lock, self._environ)
        return ("--offline", "--no-index", "--find-links", wheels) if wheels else ()

    def _made(self, name: str, inputs: list[Path], fill: Callable[[Path], None]) -> Path:
        place, wanted = self._own / name, stamp(inputs)
        if _read(place / "stamp") == wanted:
            return place
        with self._locked(name):
            if _read(place / "stamp") != wanted:
                with self._voice.step(f"make the environment {name}"):
                    self._replace(place, wanted, fill)
        return place

    def _replace(self, place: Path, wanted: str, fill: Callable[[Path], None]) -> None:
        aside, old = place.with_name(f"{place.name}.new"), place.with_name(f"{place.name}.old")
        for leftover in (aside, old):
            shutil.rmtree(leftover, ignore_errors=True)
        fill(aside)
        (aside / "stamp").write_text(wanted)
        if place.exists():
            place.rename(old)
        aside.rename(place)
        shutil.rmtree(old, ignore_errors=True)

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        try:
            with (self._own / f"{name}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except PermissionError:
            raise NotPossibleHere(
                f"cannot write to {self._own}", "run as its owner, or clone ESB to a place of your own"
            ) from None

    def _uv(self, *arguments: str | Path) -> None:
        run.run((self.uv, *arguments), environ=self.uv_environ())

    def uv_environ(self) -> dict[str, str]:
        """uv's environment: the person's own uv and index settings, the system's TLS store, our cache."""
        theirs = {name: value for name, value in self._environ.items() if name.startswith("UV_")}
        home = settings.folder(self._environ, "ESB_HOME", "~/.esb")
        ours = {
            "UV_SYSTEM_CERTS": "1",
            "UV_CACHE_DIR": str(home / "cache/uv"),
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
        }
        if not {"UV_DEFAULT_INDEX", "UV_INDEX_URL"} & set(theirs) and (index := self._index_of_pip()):
            ours["UV_DEFAULT_INDEX"] = index
        return run.clean(self._environ) | ours | theirs

    def _index_of_pip(self) -> str:
        """Where pip is configured to look, which uv does not read by itself."""
        asked = (self._own / "uv/bin/python", "-m", "pip", "config", "get", "global.index-url")
        theirs = {name: value for name, value in self._environ.items() if name.startswith("PIP_")}
        return self._environ.get("PIP_INDEX_URL") or (
            run.run(asked, environ=run.clean(self._environ, **theirs), check=False).stdout.strip()
        )


def stamp(inputs: list[Path]) -> str:
    """What an environment depends on: its inputs, the interpreter, our recipe."""
    digest = hashlib.sha256(f"{_RECIPE} {sys.version} {sys.base_prefix}".encode())
    for path in inputs:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _interpreter() -> str:
    return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
