"""What this checkout asks for: read off its Dockerfiles and requirements files, nothing resolved yet.

A Dockerfile says in one place which Debian packages a step wants (the arguments of ``debs.sh``),
which requirements file its wheels come from, and which public images stand behind its fallback stages
(``ARG``s pinned by digest). The lock follows it, so there is no second list that could differ.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_common.errors import BadInput

from esb_builder import dockerfile
from esb_builder.plan import FAMILY, Image

BASE = "base"
"""The step that is no Dockerfile's: the root that mmdebstrap makes."""

BASE_PACKAGES = ("?essential", "apt", "usr-is-merged")
"""What mmdebstrap's variant *apt* with ``usr-is-merged`` installs, in apt's words."""

INSTALLER = "uv"
"""The wheel set of the context ``uv-wheels``."""

_ASKED = re.compile(r"\bdebs\.sh((?:\s+[a-z0-9][a-z0-9.+-]*)+)")
_PINNED = re.compile(r"([a-z0-9][a-z0-9._/-]*:[A-Za-z0-9._-]+)@(sha256:[0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Recipe:
    """What one image asks for. ``step`` is None where it installs no packages; ``wheels`` name wheel sets
    by context.
    """

    step: str | None
    wheels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Recipes:
    """``asked`` and ``parents``: packages and parent of each step, parents first. ``requirements``: path and
    SHA-256 of each wheel set's file. ``images``: reference and digest by stage. ``of``: by image.
    """

    asked: Mapping[str, tuple[str, ...]]
    parents: Mapping[str, str]
    requirements: Mapping[str, tuple[str, str]]
    images: Mapping[str, tuple[str, str]]
    of: Mapping[str, Recipe]


def read(root: Path, family: Mapping[str, Image] = FAMILY) -> Recipes:
    """What the checkout below ``root`` asks for. BadInput where a file is missing or says nothing."""
    asked: dict[str, tuple[str, ...]] = {}
    parents: dict[str, str] = {}
    requirements: dict[str, tuple[str, str]] = {}
    images: dict[str, tuple[str, str]] = {}
    of: dict[str, Recipe] = {}
    for image in family.values():
        parsed = dockerfile.parse(_text(root, image.dockerfile))
        step = step_of(image) if "debs" in parsed.stages else None
        if step:
            asked[step] = asked_in(parsed, image.dockerfile)
            parents[step] = _parent_step(image, family, asked)
        files = wheel_files(parsed, image.dockerfile)
        requirements |= {_set_of(path): (path, _digest(root, path)) for path in files.values()}
        images |= pinned_in(parsed)
        of[image.name] = Recipe(step, {context: _set_of(path) for context, path in files.items()})
    return Recipes(asked, parents, requirements, images, of)


def step_of(image: Image) -> str:
    """The name of an image's package step in a lock."""
    return image.name.removeprefix("esb-")


def asked_in(parsed: dockerfile.Dockerfile, name: str) -> tuple[str, ...]:
    """The packages that a Dockerfile's ``debs.sh`` is called with, sorted."""
    calls = (match for run in parsed.of("RUN") for match in _ASKED.finditer(run.text))
    found = {word for match in calls for word in match[1].split()}
    if not found:
        raise BadInput(f"{name} calls debs.sh with no package", "name the packages as debs.sh's arguments")
    return tuple(sorted(found))


def wheel_files(parsed: dockerfile.Dockerfile, name: str) -> dict[str, str]:
    """The requirements file behind each of the contexts ``wheels`` and ``uv-wheels`` of a Dockerfile."""
    files = {}
    for context, ending in (("wheels", "/requirements.lock"), ("uv-wheels", f"/{INSTALLER}.lock")):
        if context in parsed.stages:
            found = [source for source in parsed.sources if source.endswith(ending)]
            if len(found) != 1:
                raise BadInput(f"{name} has a stage {context} but takes {len(found)} files …{ending}")
            files[context] = found[0]
    return files


def pinned_in(parsed: dockerfile.Dockerfile) -> dict[str, tuple[str, str]]:
    """Public images by digest, by the stage that starts from their ``ARG``."""
    defaults = dict(one.text.partition("=")[::2] for one in parsed.of("ARG"))
    found = {}
    for stage, start in parsed.stages.items():
        match = _PINNED.fullmatch(defaults.get(start.strip("${}"), ""))
        if match and start.startswith("$"):
            found[stage] = (match[1], match[2])
    return found


def _parent_step(image: Image, family: Mapping[str, Image], asked: Mapping[str, object]) -> str:
    parent = family.get(image.parent or "")
    while parent:
        if step_of(parent) in asked:
            return step_of(parent)
        parent = family.get(parent.parent or "")
    return BASE


def _set_of(path: str) -> str:
    file = Path(path)
    return file.stem if file.stem != "requirements" else file.parent.name


def _digest(root: Path, path: str) -> str:
    return hashlib.sha256(_text(root, path).encode()).hexdigest()


def _text(root: Path, path: str) -> str:
    try:
        return (root / path).read_text()
    except FileNotFoundError:
        raise BadInput(f"{path} is not in this checkout") from None
