"""What of a lock the store lacks, and where this machine may get each of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from esb_builder.lock import images, wheels
from esb_builder.lock.model import Archive, Image, Lock, WheelSet
from esb_builder.sources.http import Location
from esb_builder.sources.machine import Machine
from esb_builder.store import Blob, Store

PYTHON = "python"

Places = Callable[[], Sequence[Location]]
"""Where a file can be had. Called once and only for what is wanted; raises what a person should know."""


@dataclass(frozen=True, slots=True)
class Need:
    """A file to bring. ``update`` is the name under which its pin moves; ``mirror`` the named mirror that it
    needs. A ``proof`` only shows where hashes come from, so a build does without.
    """

    name: str
    version: str
    update: str
    blob: Blob
    places: Places
    mirror: str | None = None
    proof: bool = False


@dataclass(slots=True)
class Finder:
    """Turns a lock into needs. What the package index has is asked once, for all wheels that are wanted."""

    lock: Lock
    root: Path
    machine: Machine
    store: Store
    _addresses: dict[str, str] = field(default_factory=dict)
    _asked: bool = False

    def lacking(self) -> list[Need]:
        """Everything that the store does not have, each file once, large ones first."""
        found = {need.blob: need for need in self._all() if not self.store.has(need.blob)}
        return sorted(found.values(), key=lambda need: (-need.blob.size, need.name))

    def _all(self) -> Iterator[Need]:
        yield from self._proofs()
        yield from self._debs()
        yield from self._wheels()
        yield from self._artefacts()
        yield from self._images()
        if python := self.lock.python:
            places = self._own(PYTHON, python.path, python.sha256)
            yield Need(PYTHON, python.version, PYTHON, python.blob, places, PYTHON)

    def _proofs(self) -> Iterator[Need]:
        for suite, archive in self.lock.archives.items():
            for name, blob, path in self._proof_files(suite, archive):
                places = self._pool(suite, path, blob)
                yield Need(f"{suite} {name}", archive.date, "debian", blob, places, proof=True)

    def _proof_files(self, suite: str, archive: Archive) -> Iterator[tuple[str, Blob, str]]:
        by_hash = f"main/binary-{self.lock.architecture}/by-hash/SHA256/{archive.packages.sha256}"
        yield "InRelease", archive.inrelease, f"dists/{suite}/InRelease"
        yield "Packages", archive.packages, f"dists/{suite}/{by_hash}"

    def _debs(self) -> Iterator[Need]:
        for step in self.lock.steps.values():
            for name, deb in step.packages.items():
                yield Need(name, deb.version, name, deb.blob, self._pool(deb.suite, deb.path, deb.blob))

    def _pool(self, suite: str, path: str, blob: Blob) -> Places:
        return lambda: [*self.machine.blob(blob.sha256), *self.machine.archive(suite, path)]

    def _wheels(self) -> Iterator[Need]:
        for set_name, one in self.lock.wheels.items():
            for name, pin in one.wheels.items():
                yield Need(name, pin.version, set_name, pin.blob, self._indexed(pin.sha256))

    def _indexed(self, sha256: str) -> Places:
        def places() -> list[Location]:
            address = self._of_index().get(sha256)
            return [*self.machine.blob(sha256), *([self.machine.indexed(address)] if address else [])]

        return places

    def _of_index(self) -> dict[str, str]:
        if not self._asked:
            self._asked = True
            for one in self.lock.wheels.values():
                if not all(self.store.has(pin.blob) for pin in one.wheels.values()):
                    self._addresses |= self._offered(one)
        return self._addresses

    def _offered(self, one: WheelSet) -> dict[str, str]:
        machine, path = self.machine, self.root / one.requirements
        offers = wheels.ask(path, self.lock.architecture, machine.uv, machine.uv_environ)
        return {offer.pin.sha256: offer.address for offer in offers}

    def _artefacts(self) -> Iterator[Need]:
        for name, artefact in self.lock.artefacts.items():
            pin, mirror = artefact.pin, artefact.mirror
            places = self._own(mirror, pin.path, pin.sha256)
            yield Need(name, pin.version, "firecracker", pin.blob, places, mirror)

    def _own(self, mirror: str, path: str, sha256: str) -> Places:
        return lambda: [*self.machine.blob(sha256), *self.machine.mirror(mirror, path)]

    def _images(self) -> Iterator[Need]:
        registry = images.Registry(self.machine)
        for stage, image in self.lock.images.items():
            for blob in image.blobs:
                places = self._of_registry(registry, image, blob)
                yield Need(image.reference, image.digest, stage, blob, places, "registry")

    def _of_registry(self, registry: images.Registry, image: Image, blob: Blob) -> Places:
        def places() -> list[Location]:
            named = registry.locations(image, blob) if "registry" in self.machine.mirrors else []
            return [*self.machine.blob(blob.sha256), *named]

        return places
