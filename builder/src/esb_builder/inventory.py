"""The family as an engine has it: what each image is made of, and whether it is canonical.

All facts are read from the images themselves. A canonical image of ours is read from the shelf, in a
fraction of a second; others must be saved by the engine first, some seconds each. The answer is
kept per image, so that asking again costs one look at the engine.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from esb_common.ids import Digest

from esb_builder import exchange, stamps
from esb_builder.archive import Archive, Image, Tree
from esb_builder.ca import judge
from esb_builder.canonical import Shelf, is_canonical
from esb_builder.exchange import Docker, Present
from esb_builder.plan import FAMILY
from esb_builder.plan import Image as Planned
from esb_builder.verify.trust import BAKED
from esb_builder.voice import Voice

READ = 1
"""Rises when the facts, or the way to find them, change: older answers are not taken then."""

_STATUS = "var/lib/dpkg/status"
_INSTALLED = b"\nStatus: install ok installed\n"
_MOST_STATUS = 64 << 20
_WHEEL = ".dist-info/METADATA"


@dataclass(frozen=True, slots=True)
class Facts:
    """What one image is. ``size`` is the bytes of all its files, unpacked.

    ``id`` is its configuration's digest; the root CA's ``fingerprint`` is empty where none is baked in.
    """

    id: Digest
    size: int
    debian_packages: int
    python_packages: int
    fingerprint: str
    not_after: str
    canonical: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """One image of the engine. ``parent`` is the image of the family that it stands on, or nothing."""

    name: str
    reference: str
    parent: str
    layers: tuple[str, ...]
    facts: Facts

    @property
    def packages(self) -> int:
        return self.facts.debian_packages + self.facts.python_packages


def listed(engine: Docker, home: Path, shelf: Shelf, voice: Voice) -> list[Listed]:
    """The images of the family that ``engine`` has, in the family's order."""
    found = exchange.present(engine, list(FAMILY.values()))
    known = {name: facts for name, one in found.items() if (facts := _read(home, one.engine_id))}
    missing = [FAMILY[name] for name in FAMILY if name in found and name not in known]
    for name, facts in _look(engine, home, shelf, missing, found, voice):
        _write(home, found[name].engine_id, facts)
        known[name] = facts
    return [
        Listed(name, image.reference, parent_of(name, found), found[name].layers, known[name])
        for name, image in FAMILY.items()
        if name in known
    ]


def parent_of(name: str, found: Mapping[str, Present]) -> str:
    """The image with the most layers that those of ``name`` begin with and go beyond."""
    own = found[name].layers
    below = {other: one.layers for other, one in found.items() if len(one.layers) < len(own)}
    fitting = [other for other, layers in below.items() if layers and own[: len(layers)] == layers]
    return max(fitting, key=lambda other: len(below[other]), default="")


def facts_of(image: Image) -> Facts:
    """The facts of an image, from its archive."""
    tree = image.tree()
    certificate = _root_ca(tree)
    return Facts(
        id=image.id,
        size=sum({(node.layer, node.offset): node.size for node in tree.nodes.values()}.values()),
        debian_packages=(b"\n" + (tree.read(_STATUS, _MOST_STATUS) or b"")).count(_INSTALLED),
        python_packages=sum(path.endswith(_WHEEL) for path in tree.nodes),
        fingerprint=judge.fingerprint(certificate) if certificate else "",
        not_after=certificate.not_valid_after_utc.isoformat() if certificate else "",
        canonical=is_canonical(image.config),
    )


def table(images: Sequence[Listed], now: datetime) -> str:
    """For people: one line an image."""
    lines = [f"{'image':<30}{'id':<14}{'parent':<17}{'MB':>6}{'packages':>10}  {'root CA':<30}canonical"]
    for one in images:
        facts = one.facts
        canonical = "yes" if facts.canonical else "not canonical"
        lines.append(
            f"{one.reference:<30}{facts.id[7:19]:<14}{one.parent or '–':<17}{facts.size / 1e6:>6.1f}"
            f"{one.packages:>10}  {_authority(facts, now):<30}{canonical}"
        )
    if any(not one.facts.canonical for one in images):
        lines += ["", "not canonical: made without esb build, which puts the canonical image in its place"]
    return "\n".join(lines)


def document(images: Sequence[Listed]) -> dict[str, object]:
    """For programs."""
    return {
        "images": [
            {"name": one.name, "reference": one.reference, "parent": one.parent or None}
            | asdict(one.facts)
            | {"packages": one.packages, "layers": list(one.layers)}
            for one in images
        ]
    }


def _authority(facts: Facts, now: datetime) -> str:
    if not facts.fingerprint:
        return "none"
    end = datetime.fromisoformat(facts.not_after)
    return f"{facts.fingerprint[:12]} {'expired' if end <= now else 'until'} {end:%Y-%m-%d}"


def _root_ca(tree: Tree) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(tree.read(BAKED) or b"")
    except ValueError:
        return None


def _look(
    engine: Docker,
    home: Path,
    shelf: Shelf,
    images: Sequence[Planned],
    found: Mapping[str, Present],
    voice: Voice,
) -> Iterator[tuple[str, Facts]]:
    ours = {}
    for image in images:
        stamp = stamps.read(home, image.name)
        if stamp and stamp.engine_id == found[image.name].engine_id and shelf.has(stamp.id):
            ours[image.reference] = stamp.id
    others = [image.reference for image in images if image.reference not in ours]
    place = home / "cache"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix=".listed-") as scratch:
        if ours:
            shelf.layout(Path(scratch, "ours"), ours)
            yield from _facts(Path(scratch, "ours"))
        if others:
            with voice.step(f"save {', '.join(others)} to look into"):
                engine.docker("save", "--output", Path(scratch, "others.tar"), *others)
            yield from _facts(Path(scratch, "others.tar"))


def _facts(path: Path) -> Iterator[tuple[str, Facts]]:
    with Archive(path) as archive:
        for image in archive.images():
            for name in image.names:
                yield name.rpartition("/")[2].removesuffix(":latest"), facts_of(image)


def _read(home: Path, engine_id: str) -> Facts | None:
    path = _path(home, engine_id)
    return Facts(**json.loads(path.read_text())) if path.exists() else None


def _write(home: Path, engine_id: str, facts: Facts) -> None:
    path = _path(home, engine_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(asdict(facts), indent=1))
    aside.replace(path)


def _path(home: Path, engine_id: str) -> Path:
    return home / f"cache/images-{READ}" / f"{engine_id.removeprefix('sha256:')}.json"
