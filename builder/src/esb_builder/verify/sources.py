"""What the checkout says of the images: their Dockerfiles and the one ``.dockerignore``, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_common.errors import BadInput

from esb_builder import dockerfile
from esb_builder.dockerfile import Dockerfile, Instruction
from esb_builder.plan import FAMILY
from esb_builder.verify.verdict import Finding, Level

IGNORE = ".dockerignore"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One Dockerfile: where it lies in the checkout, and what it says."""

    path: str
    read: Dockerfile

    @classmethod
    def of(cls, path: str, text: str) -> Recipe:
        """BadInput where ``text`` is no Dockerfile."""
        try:
            return cls(path, dockerfile.parse(text))
        except ValueError as error:
            raise BadInput(f"{path}: {error}", "mend the Dockerfile") from None

    def finding(self, what: str, at: Instruction | int, mend: str, level: Level = "error") -> Finding:
        """Something wrong at an instruction, or at a line."""
        line = at if isinstance(at, int) else at.line
        return Finding(what, self.path, mend, line, level)


@dataclass(frozen=True, slots=True)
class Sources:
    """The recipes by image, and the lines of ``.dockerignore``."""

    recipes: Mapping[str, Recipe]
    ignore: tuple[str, ...]

    @classmethod
    def read(cls, root: Path) -> Sources:
        """Those of the checkout at ``root``. BadInput where one is missing or is no Dockerfile."""
        texts = {image.dockerfile: _text(root / image.dockerfile) for image in FAMILY.values()}
        return cls.of(texts, _text(root / IGNORE))

    @classmethod
    def of(cls, dockerfiles: Mapping[str, str], ignore: str) -> Sources:
        """From texts: Dockerfiles by their path in the checkout, and ``.dockerignore``."""
        recipes = {
            name: Recipe.of(image.dockerfile, dockerfiles[image.dockerfile])
            for name, image in FAMILY.items()
            if image.dockerfile in dockerfiles
        }
        return cls(recipes, tuple(ignore.splitlines()))

    @property
    def taken(self) -> frozenset[str]:
        """Everything that any recipe takes from the checkout."""
        return frozenset(source for recipe in self.recipes.values() for source in recipe.read.sources)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}", "a checkout is judged with its Dockerfiles") from None
