"""S23: every library that any ELF file of an image needs is found inside the image, as the loader looks.

The search follows ld.so(8): DT_RPATH of the file and of what loads it (where the file has no
DT_RUNPATH), DT_RUNPATH, the folders of ``/etc/ld.so.conf``, ``/lib`` and ``/usr/lib`` with their
multi-arch folders; a file of another machine or word size does not count. What a program opens by name
while it runs (dlopen) is not visible here. Reading an image's 600 files takes half a
second; files that images share are read once.
"""

from __future__ import annotations

import fnmatch
import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping

from esb_builder.archive import Tree
from esb_builder.verify import elf, sonames
from esb_builder.verify.subject import Scene, Subject
from esb_builder.verify.verdict import Finding

MULTIARCH = {"EM_X86_64": "x86_64-linux-gnu", "EM_AARCH64": "aarch64-linux-gnu"}
_NESTED = 8


def complete(subject: Subject, scene: Scene) -> Iterator[Finding]:
    """S23: the closure of DT_NEEDED, and every program's loader."""
    elves, damaged = _elves(subject.tree)
    for path, told in damaged.items():
        yield Finding(told, path, "replace the file, or leave it out of the image")
    search = _Search(subject.tree, elves)
    missing: dict[str, list[str]] = defaultdict(list)
    for path, one in elves.items():
        if one.interpreter and subject.tree.get(one.interpreter) is None:
            yield Finding(
                f"its loader {one.interpreter} is not in the image", path, "take a binary for Debian 12"
            )
        for name in one.needed:
            if search.find(path, name) is None:
                missing[name].append(path)
    for name, needing in sorted(missing.items()):
        yield _finding(name, needing, scene)


def _finding(name: str, needing: list[str], scene: Scene) -> Finding:
    trees = [subject.tree for subject in scene.family.values()]
    more = f" and {len(needing) - 1} more" if len(needing) > 1 else ""
    return Finding(f"the shared library {name} is missing", needing[0] + more, sonames.advice(name, trees))


def _elves(tree: Tree) -> tuple[dict[str, elf.Elf], dict[str, str]]:
    """Every dynamic ELF file by path, and what is wrong with damaged ones."""
    found, damaged = {}, {}
    for path, node in tree.nodes.items():
        if node.kind != "file" or node.size < len(elf.MAGIC):
            continue
        try:
            one = tree.once(node, elf.read)
        except ValueError as error:
            damaged[path] = str(error)
            continue
        if one is not None:
            found[path] = one
    return found, damaged


class _Search:
    """The loader's search in one image."""

    def __init__(self, tree: Tree, elves: Mapping[str, elf.Elf]) -> None:
        self._tree, self._elves = tree, elves
        self._configured = _configured(tree, "etc/ld.so.conf", _NESTED)
        self._lenders: dict[str, list[str]] | None = None

    def find(self, path: str, name: str) -> str | None:
        """Where the loader finds ``name`` for the file at ``path``."""
        return self._direct(path, name) or self._lent(path, name)

    def _system(self, one: elf.Elf) -> list[str]:
        triplet = MULTIARCH.get(one.machine[1], "")
        multiarch = [f"lib/{triplet}", f"usr/lib/{triplet}"] if triplet else []
        return [*self._configured, *multiarch, "lib", "usr/lib", "lib64", "usr/lib64"]

    def _fits(self, path: str, one: elf.Elf) -> str | None:
        real = self._tree.real(path)
        other = self._elves.get(real) if real else None
        return real if other and other.machine == one.machine else None

    def _lent(self, path: str, name: str) -> str | None:
        """Where DT_RPATH of something that loads the file leads to ``name``."""
        one = self._elves[path]
        if one.runpath:
            return None
        if self._lenders is None:
            self._lenders = self._who_lends()
        candidates = (f"{folder}/{name}" for folder in self._lenders.get(path, ()))
        return next((real for candidate in candidates if (real := self._fits(candidate, one))), None)

    def _who_lends(self) -> dict[str, list[str]]:
        """For each library, the folders lent by what loads it, directly or through others."""
        loads = {
            path: [real for name in one.needed if (real := self._direct(path, name))]
            for path, one in self._elves.items()
        }
        lent: dict[str, list[str]] = defaultdict(list)
        for path, one in self._elves.items():
            if folders := one.lent_folders(path):
                for loaded in _reachable(path, loads):
                    lent[loaded] += folders
        return lent

    def _direct(self, path: str, name: str) -> str | None:
        one = self._elves[path]
        if "/" in name:
            return self._fits(elf.expand(name, path), one)
        folders = [*one.own_folders(path), *self._system(one)]
        return next((real for folder in folders if (real := self._fits(f"{folder}/{name}", one))), None)


def _reachable(start: str, loads: Mapping[str, list[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for path in loads[waiting.pop()]:
            if path not in seen:
                seen.add(path)
                waiting.append(path)
    return seen


def _configured(tree: Tree, path: str, depth: int) -> list[str]:
    """The folders of a ``ld.so.conf``, its includes followed."""
    folders: list[str] = []
    for line in (tree.read(path) or b"").decode(errors="replace").splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        if words[0] == "include" and depth:
            for pattern in words[1:]:
                absolute = posixpath.join("/", posixpath.dirname(path), pattern).lstrip("/")
                for included in _matching(tree, absolute):
                    folders += _configured(tree, included, depth - 1)
        elif words[0] not in ("include", "hwcap"):
            folders.append(words[0].strip("/"))
    return folders


def _matching(tree: Tree, pattern: str) -> list[str]:
    folder = posixpath.dirname(pattern)
    return [path for path, _ in tree.below(folder) if fnmatch.fnmatch(path, pattern)]
