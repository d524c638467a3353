"""``esb.lock`` as text: TOML, sorted, one line a file, so that a diff reads as what moved.

What is read is checked in full: a schema this program does not know, a key it does not know, a
missing one, or a value of the wrong shape is BadInput that names its place. Hashes, sizes and
paths are checked here, once; behind this module a lock is right by construction.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from esb_common.errors import BadInput

from esb_builder.lock.model import SCHEMA, SOURCES, Archive, Artefact, Deb, Image, Lock, Pin, Step, WheelSet
from esb_builder.store import Blob

FILE = "esb.lock"
_HEAD = """\
# Every input of every image. Written by `./esb lock`; moved only by `./esb lock --update [NAME]`.
# Debian packages are listed under the step that adds them; paths are relative to whatever mirror is used.
"""
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEX = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9?][A-Za-z0-9.+:~_-]*")
_PATH = re.compile(r"(?!.*(^|/)\.\.?(/|$))[A-Za-z0-9_.~%+:-]+(/[A-Za-z0-9_.~%+:-]+)*")
_REFERENCE = re.compile(r"[a-z0-9][a-z0-9._/-]*:[A-Za-z0-9_][A-Za-z0-9._-]*")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_LARGEST = 1 << 40


def render(lock: Lock) -> str:
    """The lock as a file's text. Equal locks give equal text."""
    head = (
        f"schema = {SCHEMA}\nsource = {_quoted(lock.source)}\narchitecture = {_quoted(lock.architecture)}\n"
    )
    if lock.python:
        head += f"python = {_inline(_pin_fields(lock.python))}\n"
    return _HEAD + head + "".join(f"\n{section}" for section in _sections(lock))


def _sections(lock: Lock) -> Iterator[str]:
    if lock.archives:
        yield _table("archives", {name: _archive_fields(one) for name, one in lock.archives.items()})
    for name, step in sorted(lock.steps.items()):
        yield f"[debian.{_key(name)}]\nasked = {_list(step.asked)}\n" + _table(
            f"debian.{_key(name)}.packages", {one: _deb_fields(deb) for one, deb in step.packages.items()}
        )
    for name, wheels in sorted(lock.wheels.items()):
        about = {"requirements": wheels.requirements, "sha256": wheels.requirements_sha256}
        lines = "".join(f"{field} = {_quoted(value)}\n" for field, value in about.items())
        yield f"[wheels.{_key(name)}]\n{lines}" + _table(
            f"wheels.{_key(name)}.files", {one: _pin_fields(pin) for one, pin in wheels.wheels.items()}
        )
    if lock.artefacts:
        yield _table("artefacts", {name: _artefact_fields(one) for name, one in lock.artefacts.items()})
    for name, image in sorted(lock.images.items()):
        yield f"[images.{_key(name)}]\n" + "".join(_image_lines(image))


def _table(name: str, rows: Mapping[str, Mapping[str, str | int]]) -> str:
    lines = "".join(f"{_key(key)} = {_inline(rows[key])}\n" for key in sorted(rows))
    return f"[{name}]\n{lines}"


def _image_lines(image: Image) -> Iterator[str]:
    yield f"reference = {_quoted(image.reference)}\ndigest = {_quoted(image.digest)}\n"
    yield f"manifest = {_inline(_blob_fields(image.manifest))}\n"
    yield f"config = {_inline(_blob_fields(image.config))}\n"
    yield "layers = [\n" + "".join(f"  {_inline(_blob_fields(layer))},\n" for layer in image.layers) + "]\n"


def _archive_fields(archive: Archive) -> dict[str, str | int]:
    return {
        "date": archive.date,
        "inrelease": archive.inrelease.sha256,
        "inrelease_size": archive.inrelease.size,
        "packages": archive.packages.sha256,
        "packages_size": archive.packages.size,
    }


def _deb_fields(deb: Deb) -> dict[str, str | int]:
    return {
        "version": deb.version,
        "architecture": deb.architecture,
        "suite": deb.suite,
        "size": deb.size,
        "sha256": deb.sha256,
        "path": deb.path,
    }


def _pin_fields(pin: Pin) -> dict[str, str | int]:
    return {"version": pin.version, "size": pin.size, "sha256": pin.sha256, "path": pin.path}


def _artefact_fields(artefact: Artefact) -> dict[str, str | int]:
    return {"mirror": artefact.mirror, **_pin_fields(artefact.pin)}


def _blob_fields(blob: Blob) -> dict[str, str | int]:
    return {"sha256": blob.sha256, "size": blob.size}


def _inline(fields: Mapping[str, str | int]) -> str:
    pairs = (
        f"{name} = {value if isinstance(value, int) else _quoted(value)}" for name, value in fields.items()
    )
    return "{ " + ", ".join(pairs) + " }"


def _list(words: tuple[str, ...]) -> str:
    return "[" + ", ".join(map(_quoted, words)) + "]"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _quoted(text: str) -> str:
    return json.dumps(text)


def parse(text: str) -> Lock:
    """A lock from a file's text. BadInput says what is wrong and where."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{FILE}: {error}", "restore it from git, or write it anew: ./esb lock") from None
    if (schema := document.get("schema")) != SCHEMA:
        raise BadInput(f"{FILE} has schema {schema!r}; this ESB knows {SCHEMA}", "use the ESB that wrote it")
    top = _Fields("top", document)
    top.take("schema", int)
    lock = Lock(
        source=top.among("source", SOURCES),
        architecture=top.match("architecture", _WORD),
        archives=_rows(top.table("archives"), _archive),
        steps=_rows(top.table("debian"), _step),
        wheels=_rows(top.table("wheels"), _wheel_set),
        artefacts=_rows(top.table("artefacts"), _artefact),
        images=_rows(top.table("images"), _image),
        python=_pin(top.fields("python")) if "python" in document else None,
    )
    top.end()
    return lock


class _Fields:
    """A table being taken apart: each field is taken once, and nothing may be left."""

    def __init__(self, place: str, table: Mapping[str, Any]) -> None:
        self._place = place
        self._left = dict(table)

    def take[T](self, name: str, kind: type[T]) -> T:
        if name not in self._left:
            self.refuse(f"{name} is missing")
        value = self._left.pop(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            self.refuse(f"{name} is not of type {kind.__name__}")
        return value

    def match(self, name: str, pattern: re.Pattern[str]) -> str:
        value = self.take(name, str)
        if not pattern.fullmatch(value):
            self.refuse(f"{name} is {value!r}, which cannot be")
        return value

    def among[T: str](self, name: str, allowed: tuple[T, ...]) -> T:
        value = self.take(name, str)
        found = next((one for one in allowed if one == value), None)
        if found is None:
            self.refuse(f"{name} is {value!r}, not one of: {', '.join(allowed)}")
        return found

    def size(self, name: str = "size") -> int:
        value = self.take(name, int)
        if not 0 <= value <= _LARGEST:
            self.refuse(f"{name} is {value}, which cannot be")
        return value

    def blob(self, sha256: str = "sha256", size: str = "size") -> Blob:
        return Blob(self.match(sha256, _HEX), self.size(size))

    def fields(self, name: str) -> _Fields:
        return _Fields(f"{self._place}.{name}", self.take(name, dict))

    def rows(self) -> Iterator[tuple[str, _Fields]]:
        for name in list(self._left):
            if not _WORD.fullmatch(name):
                self.refuse(f"{name!r} is no name")
            yield name, self.fields(name)

    def table(self, name: str) -> _Fields:
        return self.fields(name) if name in self._left else _Fields(f"{self._place}.{name}", {})

    def words(self, name: str) -> tuple[str, ...]:
        found = self.take(name, list)
        if not all(isinstance(one, str) and _WORD.fullmatch(one) for one in found):
            self.refuse(f"{name} holds something that is no name")
        return tuple(found)

    def each(self, name: str) -> Iterator[_Fields]:
        for number, one in enumerate(self.take(name, list), 1):
            if not isinstance(one, dict):
                self.refuse(f"{name} holds something that is no table")
            yield _Fields(f"{self._place}.{name}.{number}", one)

    def end(self) -> None:
        if self._left:
            self.refuse(f"{sorted(self._left)[0]} is not known to this ESB")

    def refuse(self, what: str) -> NoReturn:
        raise BadInput(f"{FILE}, {self._place.removeprefix('top.')}: {what}", "restore it from git")


def _rows[T](table: _Fields, make: Callable[[_Fields], T]) -> dict[str, T]:
    found = {}
    for name, fields in table.rows():
        found[name] = make(fields)
        fields.end()
    return found


def _archive(fields: _Fields) -> Archive:
    date = fields.match("date", _DATE)
    return Archive(date, fields.blob("inrelease", "inrelease_size"), fields.blob("packages", "packages_size"))


def _step(fields: _Fields) -> Step:
    return Step(fields.words("asked"), _rows(fields.table("packages"), _deb))


def _deb(fields: _Fields) -> Deb:
    return Deb(
        version=fields.match("version", _WORD),
        architecture=fields.match("architecture", _WORD),
        suite=fields.match("suite", _WORD),
        sha256=fields.match("sha256", _HEX),
        size=fields.size(),
        path=fields.match("path", _PATH),
    )


def _wheel_set(fields: _Fields) -> WheelSet:
    about = fields.match("requirements", _PATH), fields.match("sha256", _HEX)
    return WheelSet(*about, _rows(fields.table("files"), _pin))


def _pin(fields: _Fields) -> Pin:
    pin = Pin(
        version=fields.match("version", _WORD),
        sha256=fields.match("sha256", _HEX),
        size=fields.size(),
        path=fields.match("path", _PATH),
    )
    fields.end()
    return pin


def _artefact(fields: _Fields) -> Artefact:
    return Artefact(fields.match("mirror", _WORD), _pin(fields))


def _image(fields: _Fields) -> Image:
    def blob(name: str) -> Blob:
        inner = fields.fields(name)
        found = inner.blob()
        inner.end()
        return found

    return Image(
        reference=fields.match("reference", _REFERENCE),
        digest=fields.match("digest", _DIGEST),
        manifest=blob("manifest"),
        config=blob("config"),
        layers=tuple(one.blob() for one in fields.each("layers")),
    )
