"""What a check may look at: one image, its family, and the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from esb_builder.archive import Image, Tree
from esb_builder.verify.sources import Recipe, Sources
from esb_builder.verify.verdict import Finding


@dataclass(frozen=True, slots=True)
class Subject:
    """An image under judgement, by its name in the family."""

    name: str
    image: Image
    tree: Tree = field(repr=False)

    @classmethod
    def of(cls, name: str, image: Image) -> Subject:
        return cls(name, image, image.tree())


@dataclass(frozen=True, slots=True)
class Scene:
    """All subjects by name, when the judgement is made (for certificates), and the checkout's recipes."""

    family: Mapping[str, Subject]
    now: datetime
    sources: Sources

    def recipe(self, subject: Subject) -> Recipe:
        """The Dockerfile of an image."""
        return self.sources.recipes[subject.name]


Judge = Callable[[Subject, Scene], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """One row: what it says, which images it is about, which others it needs to see, and who judges.

    ``adds`` is what a reader must know of an image for which the row holds (*stand-ins*, say).
    """

    row: str
    says: str
    images: tuple[str, ...]
    judge: Judge
    needs: Callable[[str], tuple[str, ...]] = lambda _name: ()
    adds: Callable[[Subject], str] = lambda _subject: ""
