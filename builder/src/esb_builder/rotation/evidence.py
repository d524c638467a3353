"""What a rotation can show: which images still carry a root CA, and which layers another one moved.

The engine's word is not taken: images are saved, and the certificate is read out of the archive.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from esb_builder.archive import Archive, Image
from esb_builder.ca import judge
from esb_builder.canonical import Shelf
from esb_builder.canonical.document import MARK
from esb_builder.exchange import Docker
from esb_builder.stamps import Stamp
from esb_builder.verify.trust import BAKED, FILE_LABEL

_UNTAGGED = "<none>"


@dataclass(frozen=True, slots=True)
class Listed:
    """An image as an engine lists it; ``tag`` is empty where nothing names it."""

    engine_id: str
    tag: str

    @property
    def name(self) -> str:
        return self.tag or self.engine_id


def carriers(engine: Docker, fingerprint: str, scratch: Path) -> list[Listed]:
    """The images of an engine, tagged or not, whose archive holds that root CA.

    Looked at are all that say they are of the family or stand on it (label), whatever their name. Those with
    names are saved together, so that each layer is written once.
    """
    listed = list(_listed(engine))
    tagged = [one for one in listed if one.tag]
    groups = [*([tagged] if tagged else []), *([one] for one in listed if not one.tag)]
    return [one for group in groups for one in _carrying(engine, group, fingerprint, scratch)]


def drop_untagged(engine: Docker, images: list[Listed]) -> None:
    """Remove those that nothing names; what a container still uses stays."""
    for one in images:
        if not one.tag:
            engine.docker("image", "rm", one.engine_id, check=False)


def moved(shelf: Shelf, old: Mapping[str, Stamp], new: Mapping[str, Stamp]) -> list[str]:
    """The layers that differ between two families, each once, by what they say they are."""
    found: dict[str, None] = {}
    for name in old.keys() & new.keys():
        before, after = _layers(shelf, old[name]), _layers(shelf, new[name])
        changed = before.keys() ^ after.keys() | {one for one in before if before[one] != after.get(one)}
        found |= dict.fromkeys(changed)
    return sorted(found)


def _listed(engine: Docker) -> Iterator[Listed]:
    shape = "--format={{.ID}}\t{{.Repository}}\t{{.Tag}}"
    shown = engine.docker("image", "ls", "--all", "--no-trunc", f"--filter=label={FILE_LABEL}", shape)
    for engine_id, repository, tag in (line.split("\t") for line in shown.stdout.splitlines()):
        yield Listed(engine_id, "" if _UNTAGGED in (repository, tag) else f"{repository}:{tag}")


def _carrying(engine: Docker, group: list[Listed], fingerprint: str, scratch: Path) -> Iterator[Listed]:
    """Those of a group (with different tags, or one alone) that have the root CA in their archive."""
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".looked-at-") as place:
        path = Path(place, "images.tar")
        engine.docker("save", "--output", path, *(one.name for one in group))
        with Archive(path) as archive:
            for image in archive.images():
                names = {name.removeprefix("docker.io/library/") for name in image.names}
                if _baked(image) == fingerprint:
                    yield from (one for one in group if not one.tag or one.tag in names)


def _baked(image: Image) -> str | None:
    content = image.tree().read(BAKED)
    try:
        return judge.fingerprint(x509.load_pem_x509_certificate(content)) if content else None
    except ValueError:
        return None


def _layers(shelf: Shelf, stamp: Stamp) -> dict[str, str]:
    config = shelf.config(stamp.id)
    return {
        str(one["created_by"]).removeprefix(MARK): diff_id
        for one, diff_id in zip(config["history"], config["rootfs"]["diff_ids"], strict=True)
    }
