"""Which images there are, what each is made of, and what must be built: decided before anything runs.

An image's key is a hash of *parts*, each named: its Dockerfile, every file it takes from
the checkout, its arguments, its contexts, and its parent's key. So keys form a tree as images do, a
change anywhere below changes every key above, and two sets of parts tell *what* changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from esb_common.errors import Misuse

from esb_builder import dockerfile

RECIPE = 1
"""Rises when the way of building changes what comes out."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of the family; a name with a colon is a variant, for the one mode that it names.

    ``contexts`` name stages that ``esb build`` replaces: ``artefacts`` always, the others with
    ``--source debian``.
    """

    name: str
    dockerfile: str
    parent: str | None = None
    contexts: tuple[str, ...] = ()

    @property
    def reference(self) -> str:
        """The tag under which engines know it."""
        return self.name if self.variant else f"{self.name}:latest"

    @property
    def variant(self) -> str:
        """The mode that it is for; empty where it is for all that have no variant of it."""
        return self.name.partition(":")[2]


FAMILY: Mapping[str, Image] = MappingProxyType(
    {
        image.name: image
        for image in (
            Image("esb-os-base", "services/common/Dockerfile.os-base", contexts=("debian",)),
            Image("esb-python-base", "services/common/Dockerfile.python-base", "esb-os-base", ("python",)),
            Image("esb-gateway", "services/gateway/Dockerfile", "esb-python-base"),
            Image("esb-runtime-node", "services/runtime-node/Dockerfile", "esb-python-base"),
            Image("esb-lambda-python", "services/worker/Dockerfile.lambda-python", "esb-python-base"),
            Image("esb-gateway:firecracker", "services/gateway/Dockerfile.firecracker", "esb-python-base"),
            Image(
                "esb-runtime-node:firecracker",
                "services/runtime-node/Dockerfile.firecracker",
                "esb-python-base",
                ("artefacts",),
            ),
        )
    }
)
BASES = ("esb-os-base", "esb-python-base")
FIRECRACKER = tuple(name for name, image in FAMILY.items() if image.variant == "firecracker")
PLAIN = tuple(name for name, image in FAMILY.items() if not image.variant)
"""What a box needs that is not in Firecracker mode."""


@dataclass(frozen=True, slots=True)
class Step:
    """One image to have, in order of building, with the parts that its key is made of."""

    image: Image
    parts: Mapping[str, str] = field(repr=False)
    arguments: Mapping[str, str]

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(dict(self.parts), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What does not come from the checkout: build arguments, and keys of named contexts.

    ``locked`` are keys by image, of the contexts that a lock fills.
    """

    arguments: Mapping[str, str]
    contexts: Mapping[str, str]
    locked: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def keys(self, image: Image) -> dict[str, str]:
        """The key of each context of an image."""
        own = {name: self.contexts.get(name, "none") for name in image.contexts}
        return {**own, **self.locked.get(image.name, {})}


def chosen(names: Iterable[str]) -> tuple[Image, ...]:
    """The named images (with or without ``esb-``) and all they stand on, parents first. None named: PLAIN."""
    wanted = {full_name(name) for name in names} or set(PLAIN)
    for image in reversed(list(FAMILY.values())):
        if image.name in wanted and image.parent:
            wanted.add(image.parent)
    return tuple(image for image in FAMILY.values() if image.name in wanted)


def full_name(name: str) -> str:
    """A name of the family, from one with or without ``esb-`` and the tag. Misuse for others."""
    full = name if name.startswith("esb-") else f"esb-{name}"
    full = full.removesuffix(":latest")
    if full not in FAMILY:
        raise Misuse(f"there is no image {name}", f"one of: {', '.join(FAMILY)}")
    return full


def plan(root: Path, images: Sequence[Image], ingredients: Ingredients) -> tuple[Step, ...]:
    """The steps for ``images`` (parents included, in order), from what the checkout below ``root`` holds."""
    steps: dict[str, Step] = {}
    for image in images:
        text = (root / image.dockerfile).read_text()
        parsed = dockerfile.parse(text)
        declared = sorted(parsed.arguments & ingredients.arguments.keys())
        arguments = {name: ingredients.arguments[name] for name in declared}
        parts = {
            "the way of building": str(RECIPE),
            image.dockerfile: _digest(text.encode()),
            **{path: _digest_of_file(root / path) for path in files(root, parsed.sources)},
            **{f"argument {name}": value for name, value in arguments.items()},
            **{f"context {name}": key for name, key in ingredients.keys(image).items()},
        }
        if image.parent:
            parts[f"parent {image.parent}"] = steps[image.parent].key
        steps[image.name] = Step(image, MappingProxyType(parts), arguments)
    return tuple(steps.values())


def files(root: Path, sources: Iterable[str]) -> list[str]:
    """Every file that ``sources`` (files or folders below ``root``) bring into a build, sorted."""
    found = set()
    for source in sources:
        path = root / source
        below = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        found |= {str(one.relative_to(root)) for one in below if not _ignored(one)}
        if not below and not path.exists():
            raise Misuse(f"{source} is not in the checkout", "a Dockerfile takes it from there")
    return sorted(found)


def difference(was: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed between two sets of parts, as words for a person; empty where nothing did."""
    changed = sorted(name for name in was.keys() | now.keys() if was.get(name) != now.get(name))
    named = [f"{name} {_how(was, now, name)}" for name in changed[:3]]
    more = [f"{len(changed) - 3} more"] if len(changed) > 3 else []
    return ", ".join(named + more)


def _how(was: Mapping[str, str], now: Mapping[str, str], name: str) -> str:
    if name not in was:
        return "is new"
    return "changed" if name in now else "is gone"


def _ignored(path: Path) -> bool:
    return path.suffix == ".pyc" or "__pycache__" in path.parts


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _digest_of_file(path: Path) -> str:
    executable = "x" if path.stat().st_mode & 0o100 else "-"
    return executable + _digest(path.read_bytes())
