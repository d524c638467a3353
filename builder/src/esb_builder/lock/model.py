"""What a lock says: every input of every image by name, version, SHA-256, size and relative place.

No host and no path of a machine stands in it, so the same lock works behind any mirror. It
covers one architecture. A *step* is one Debian-package step of a Dockerfile (or ``base``, the
bootstrapped root); a *wheel set* is what one requirements file means on this architecture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from esb_builder.store import Blob

SCHEMA = 1

Source = Literal["debian", "registry"]
SOURCES: tuple[Source, ...] = ("debian", "registry")


@dataclass(frozen=True, slots=True)
class Pin:
    """One file. ``path`` is relative to its source: a pool path, a wheel's file name, an artefact's place."""

    version: str
    sha256: str
    size: int
    path: str

    @property
    def blob(self) -> Blob:
        return Blob(self.sha256, self.size)


@dataclass(frozen=True, slots=True)
class Deb:
    """A Debian package; ``suite`` is the archive whose signed index names it."""

    version: str
    architecture: str
    suite: str
    sha256: str
    size: int
    path: str

    @property
    def blob(self) -> Blob:
        return Blob(self.sha256, self.size)


@dataclass(frozen=True, slots=True)
class Archive:
    """The state of one Debian suite: ``date`` (RFC 3339) and hash of its signed InRelease, and of the index
    of packages that it vouches for. They prove where the packages' hashes come from; no build needs them.
    """

    date: str
    inrelease: Blob
    packages: Blob


@dataclass(frozen=True, slots=True)
class Step:
    """``asked`` are the packages that the step names; ``packages`` all that apt adds for them."""

    asked: tuple[str, ...]
    packages: Mapping[str, Deb]


@dataclass(frozen=True, slots=True)
class WheelSet:
    """``requirements`` is the file, relative to the repository, with its SHA-256 when this was resolved."""

    requirements: str
    requirements_sha256: str
    wheels: Mapping[str, Pin]


@dataclass(frozen=True, slots=True)
class Artefact:
    """A file of a project that publishes on its own site; ``mirror`` names the site, never its address."""

    mirror: str
    pin: Pin


@dataclass(frozen=True, slots=True)
class Image:
    """A public image: ``reference`` without registry, ``digest`` as pinned, blobs for one architecture."""

    reference: str
    digest: str
    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]

    @property
    def blobs(self) -> tuple[Blob, ...]:
        return (self.manifest, self.config, *self.layers)


@dataclass(frozen=True, slots=True)
class Lock:
    """Everything. ``python`` is the packed CPython prefix, absent with source *registry*."""

    source: Source
    architecture: str
    archives: Mapping[str, Archive] = field(default_factory=dict)
    steps: Mapping[str, Step] = field(default_factory=dict)
    wheels: Mapping[str, WheelSet] = field(default_factory=dict)
    artefacts: Mapping[str, Artefact] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    python: Pin | None = None

    def blobs(self) -> Iterator[tuple[str, Blob]]:
        """Every file that a build takes, with a name for people; a file may come more than once."""
        for step in self.steps.values():
            yield from ((name, deb.blob) for name, deb in step.packages.items())
        for wheels in self.wheels.values():
            yield from ((name, pin.blob) for name, pin in wheels.wheels.items())
        yield from ((name, artefact.pin.blob) for name, artefact in self.artefacts.items())
        for name, image in self.images.items():
            yield from ((name, blob) for blob in image.blobs)
        if self.python:
            yield "python", self.python.blob
