"""Reads Dockerfiles far enough to know what they take: stages, copies, mounts and arguments.

Our Dockerfiles keep to a subset that every engine builds (no heredocs, no other escape), so the
lexer is small: comments, continued lines, instructions with ``--flags``. A build's key is
computed from what is read here, and the house's rules are tests on the same reading.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_FLAG = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S+))?(?:\s+|$)")


@dataclass(frozen=True, slots=True)
class Mount:
    """One ``--mount`` of a RUN, its options by name (``required`` without a value is ``true``)."""

    options: Mapping[str, str]

    @property
    def type(self) -> str:
        return self.options.get("type", "bind")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: where it starts, its keyword, its flags (in order) and the rest of it."""

    line: int
    keyword: str
    flags: tuple[tuple[str, str], ...]
    text: str

    @property
    def mounts(self) -> tuple[Mount, ...]:
        return tuple(Mount(_options(value)) for name, value in self.flags if name == "mount")

    def flag(self, name: str) -> str | None:
        """The first value of a flag, or nothing where it is not given."""
        return next((value for given, value in self.flags if given == name), None)

    @property
    def sources(self) -> tuple[str, ...]:
        """What it takes from the build context: sources of COPY and ADD, and of bind mounts; in order."""
        if self.keyword in ("COPY", "ADD") and self.flag("from") is None:
            return tuple(shlex.split(self.text)[:-1])
        return tuple(
            mount.options.get("source", mount.options.get("src", "."))
            for mount in self.mounts
            if mount.type == "bind" and "from" not in mount.options
        )


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """A whole file. ``comments`` are whole-line comments with their line numbers."""

    instructions: tuple[Instruction, ...]
    comments: tuple[tuple[int, str], ...] = field(default=())

    @property
    def stages(self) -> dict[str, str]:
        """Stage names and what each starts from, in order."""
        found = {}
        for instruction in self.of("FROM"):
            words = instruction.text.split()
            found[words[2] if len(words) == 3 else ""] = words[0]
        return found

    @property
    def sources(self) -> tuple[str, ...]:
        """What is taken from the build context, sorted."""
        return tuple(sorted({source for one in self.instructions for source in one.sources}))

    @property
    def arguments(self) -> frozenset[str]:
        """Names of all build arguments."""
        return frozenset(instruction.text.partition("=")[0] for instruction in self.of("ARG"))

    def of(self, *keywords: str) -> Iterator[Instruction]:
        """The instructions with one of ``keywords``."""
        return (one for one in self.instructions if one.keyword in keywords)

    def stage(self, name: str) -> tuple[Instruction, ...]:
        """A stage's instructions, its FROM first; nothing where there is no such stage."""
        found: list[Instruction] = []
        inside = False
        for one in self.instructions:
            if one.keyword == "FROM":
                inside = one.text.split()[2:3] == ([name] if name else [])
            if inside:
                found.append(one)
        return tuple(found)


def parse(text: str) -> Dockerfile:
    """Read a Dockerfile. ValueError where a line is not an instruction."""
    instructions: list[Instruction] = []
    comments: list[tuple[int, str]] = []
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped.startswith("#"):
            comments.append((number, stripped))
        elif stripped:
            start = start if pending else number
            pending += stripped.removesuffix("\\")
            if not stripped.endswith("\\"):
                instructions.append(_instruction(start, pending))
                pending = ""
    if pending:
        raise ValueError(f"line {start}: the last line ends in a backslash")
    return Dockerfile(tuple(instructions), tuple(comments))


def _instruction(line: int, text: str) -> Instruction:
    keyword, _, rest = text.partition(" ")
    if not keyword.isalpha():
        raise ValueError(f"line {line}: not an instruction: {text}")
    rest = rest.strip()
    flags = []
    while match := _FLAG.match(rest):
        flags.append((match["name"], match["value"] or "true"))
        rest = rest[match.end() :]
    return Instruction(line, keyword.upper(), tuple(flags), rest)


def _options(value: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in value.split(","))
    return {name: text if equals else "true" for name, equals, text in pairs}
