"""Which layer a path belongs to: one table for every image, so that a change moves as little as can be.

Layers lie in the order of :data:`SLICES`, the one that changes most often on top. A new root CA changes
*trust* of os-base and nothing else; an edited line of ours changes *code*.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from esb_builder.canonical.tape import Item


@dataclass(frozen=True, slots=True)
class Slice:
    """A layer to be. ``places`` are paths and what lies below them; ``checkout``: its files come from there.

    A checkout's file times say when somebody cloned, so such a slice has none.
    """

    name: str
    places: tuple[str, ...] = ()
    checkout: bool = False


SLICES = (
    Slice("system"),
    Slice("trust", ("etc/ssl/certs", "usr/local/share/ca-certificates")),
    Slice("python", ("usr/local/bin", "usr/local/lib")),
    Slice("dependencies", ("app/.venv", "usr/local/bin/uv", "var/runtime")),
    Slice(
        "code",
        (
            "app/services",
            "app/entrypoint.sh",
            "var/runtime/bootstrap.py",
            "var/runtime/__pycache__/bootstrap.cpython-312.pyc",
        ),
        checkout=True,
    ),
)
_SYSTEM = 0
_NUMBERS: Mapping[str, int] = {place: number for number, one in enumerate(SLICES) for place in one.places}


def slice_of(path: str) -> Slice:
    """The slice of a file at ``path``: that of the longest place that it is at or below."""
    return SLICES[_number(path)]


def cut(items: Iterable[Item]) -> Iterator[tuple[Slice, list[Item]]]:
    """The slices that are not empty, lowest first.

    A folder lies in the lowest slice that has a file below it; one without files in the lowest of all.
    """
    items = list(items)
    numbers = {item.path: _number(item.path) for item in items if item.kind != "directory"}
    folders = {item.path: len(SLICES) for item in items if item.kind == "directory"}
    for path, number in numbers.items():
        _lower(folders, path, number)
    for path in [path for path, number in folders.items() if number == len(SLICES)]:
        folders[path] = _SYSTEM
        _lower(folders, path, _SYSTEM)
    numbers |= folders
    for number, one in enumerate(SLICES):
        if own := [item for item in items if numbers[item.path] == number]:
            yield one, own


def _lower(folders: dict[str, int], path: str, number: int) -> None:
    """Let the folders above ``path`` lie no higher than it does."""
    while path := posixpath.dirname(path):
        if path in folders:
            folders[path] = min(folders[path], number)


def _number(path: str) -> int:
    here = path
    while here:
        if here in _NUMBERS:
            return _NUMBERS[here]
        here = posixpath.dirname(here)
    return _SYSTEM
