"""A lock, a machine and a site that fit together: what tests of fetching start from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_builder.base import Apt
from esb_builder.fetch.needs import Finder
from esb_builder.lock.model import Archive, Artefact, Deb, Lock, Pin, Step, WheelSet
from esb_builder.sources.http import Web
from esb_builder.sources.machine import Machine, mirrors_of
from esb_builder.store import Blob, Store
from local_web import Site

INRELEASE, PACKAGES = b"signed", b"index"
REQUIREMENTS = "gateway/requirements.lock"


def blob_of(content: bytes) -> Blob:
    return Blob(hashlib.sha256(content).hexdigest(), len(content))


def deb(name: str, content: bytes) -> Deb:
    blob = blob_of(content)
    return Deb("1.0", "amd64", "bookworm", blob.sha256, blob.size, f"pool/main/{name}.deb")


def pin(content: bytes, path: str) -> Pin:
    blob = blob_of(content)
    return Pin("1.0", blob.sha256, blob.size, path)


@dataclass
class World:
    """``debs``, ``wheel`` and ``artefact`` are what the lock names; the site has all of it at first."""

    site: Site
    folder: Path
    debs: Mapping[str, bytes]
    wheel: bytes = b"a wheel" * 1000
    artefact: bytes = b"a kernel" * 1000
    mirrors: str = ""

    @property
    def store(self) -> Store:
        return Store(self.folder / "store")

    @property
    def lock(self) -> Lock:
        packages = {name: deb(name, content) for name, content in self.debs.items()}
        return Lock(
            "debian",
            "amd64",
            archives={"bookworm": Archive("2026-01-01T00:00:00Z", blob_of(INRELEASE), blob_of(PACKAGES))},
            steps={"base": Step(("apt",), packages)},
            wheels={
                "gateway": WheelSet(REQUIREMENTS, "0" * 64, {"x": pin(self.wheel, "x-1-py3-none-any.whl")})
            },
            artefacts={"guest-kernel": Artefact("guests", pin(self.artefact, "v1/vmlinux"))},
        )

    def publish(self) -> None:
        """Put everything where a mirror, an index and a project's site have it."""
        files = {f"/debian/pool/main/{name}.deb": content for name, content in self.debs.items()}
        by_hash = f"main/binary-amd64/by-hash/SHA256/{blob_of(PACKAGES).sha256}"
        files |= {
            "/debian/dists/bookworm/InRelease": INRELEASE,
            f"/debian/dists/bookworm/{by_hash}": PACKAGES,
            "/files/x-1-py3-none-any.whl": self.wheel,
            "/guests/v1/vmlinux": self.artefact,
        }
        self.site.files.update(files)

    def finder(self, lock: Lock | None = None) -> Finder:
        machine = Machine(
            web=Web.of({}, lambda _: None, timeout_s=5),
            apt=Apt((f"deb {self.site.address}/debian bookworm main",), ""),
            mirrors=mirrors_of(self.mirrors),
            uv=self._index(),
            uv_environ={"PATH": "/usr/bin:/bin"},
            environ={"PATH": "/usr/bin:/bin"},
        )
        return Finder(lock or self.lock, self.folder, machine, self.store)

    def missing(self) -> list[str]:
        """Names of what the store lacks, without proofs and what comes from a named mirror."""
        return [need.name for need in self.finder().lacking() if not need.proof and not need.mirror]

    def _index(self) -> Path:
        """A program that answers as uv does when it is asked for wheels."""
        wheel = blob_of(self.wheel)
        address = f"{self.site.address}/files/x-1-py3-none-any.whl"
        offered = f'url = "{address}", size = {wheel.size}, hashes = {{ sha256 = "{wheel.sha256}" }}'
        pylock = f'[[packages]]\nname = "x"\nversion = "1.0"\nwheels = [{{ {offered} }}]\n'
        (self.folder / "pylock.toml").write_text(pylock)
        program = self.folder / "uv"
        program.write_text(f"#!/bin/sh\nexec cat {self.folder}/pylock.toml\n")
        program.chmod(0o755)
        return program
