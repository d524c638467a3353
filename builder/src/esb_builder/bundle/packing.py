"""Making a bundle of what lies in the store; deterministic: the same ingredients give the same bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from esb_common.errors import BadInput

from esb_builder.bundle import roll
from esb_builder.bundle.contents import KIND, Contents, encode
from esb_builder.canonical import Shelf
from esb_builder.lock.model import Deb, Lock, WheelSet
from esb_builder.signing import attestations, dsse
from esb_builder.signing.keys import Signer
from esb_builder.stamps import Stamp
from esb_builder.store import Blob, Store

_ROOT_CA = "argument ESB_ROOT_CA_SHA256"


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What goes in; all of it but the two files is in ``store``.

    ``wheels`` are sets beside the lock's own (command line, installer, examples); ``engine`` and ``host``
    packages by file name.
    """

    store: Store
    home: Path
    lock: Lock
    lock_file: Path
    root_ca: Path
    images: Mapping[str, Stamp]
    wheels: Mapping[str, WheelSet]
    engine: Mapping[str, Blob]
    host: Mapping[str, Blob]


def create(target: Path, parts: Ingredients, signer: Signer) -> Contents:
    """Write the bundle, whole or not at all. BadInput names what is missing."""
    contents = _contents(parts)
    head = {
        roll.CONTENTS: dsse.sign(encode(contents), KIND, signer),
        roll.SIGNER: signer.verifier.pem,
        roll.WHEELS: "".join(f"{sha256} {name}\n" for name, sha256 in contents.wheels.items()).encode(),
    }
    blobs = [(Blob(sha256, size), parts.store.path(sha256)) for sha256, size in contents.blobs.items()]
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.new")
    try:
        with aside.open("wb") as out:
            roll.write(out, head, blobs)
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
    return contents


def _contents(parts: Ingredients) -> Contents:
    _refuse_other_root(parts)
    store, sets = parts.store, [*parts.lock.wheels.values(), *parts.wheels.values()]
    pins = {pin.path: pin for one in sets for pin in one.wheels.values()}
    statements = {name: store.add(path) for name, path in _attestations(parts)}
    lock, root_ca = store.add(parts.lock_file), store.add(parts.root_ca)
    blobs = {
        *(blob for blob, needed in _of_lock(parts.lock) if needed or store.has(blob)),
        *(pin.blob for pin in pins.values()),
        *parts.engine.values(),
        *parts.host.values(),
        *_of_images(Shelf(store), parts.images),
        *statements.values(),
        lock,
        root_ca,
    }
    if lacking := sorted(blob.sha256 for blob in blobs if not store.has(blob)):
        raise BadInput(f"the store lacks {len(lacking)} files, first {lacking[0]}", "bring them: ./esb fetch")
    return Contents(
        architecture=parts.lock.architecture,
        lock=lock.sha256,
        root_ca=root_ca.sha256,
        blobs={blob.sha256: blob.size for blob in blobs},
        wheels=_named({path: pin.blob for path, pin in pins.items()}),
        locks=tuple(sorted({one.requirements_sha256 for one in sets})),
        engine=_named(parts.engine),
        host=_named(parts.host),
        images={name: replace(one, engine_id="", parent_engine_id="") for name, one in parts.images.items()},
        attestations=_named(statements),
    )


def _named(files: Mapping[str, Blob]) -> dict[str, str]:
    return {name: files[name].sha256 for name in sorted(files)}


def _of_lock(lock: Lock) -> Iterator[tuple[Blob, bool]]:
    """The lock's files, and whether a bundle cannot do without: Firecracker's are for one mode only."""
    optional = {artefact.pin.blob for artefact in lock.artefacts.values()}
    yield from ((blob, blob not in optional) for _, blob in lock.blobs())
    for archive in lock.archives.values():
        yield from ((blob, False) for blob in (archive.inrelease, archive.packages))


def _of_images(shelf: Shelf, images: Mapping[str, Stamp]) -> Iterator[Blob]:
    for stamp in images.values():
        for digest in (stamp.id, *shelf.layers(stamp.id)):
            sha256 = digest.removeprefix("sha256:")
            yield Blob(sha256, shelf.store.path(sha256).stat().st_size)


def _attestations(parts: Ingredients) -> Iterator[tuple[str, Path]]:
    for stamp in parts.images.values():
        place = attestations.folder(parts.home, stamp.id)
        known = (*attestations.FILES.values(), attestations.PUBLIC_KEY)
        yield from ((f"{place.name}/{file}", place / file) for file in known if (place / file).exists())


def _refuse_other_root(parts: Ingredients) -> None:
    known = hashlib.sha256(parts.root_ca.read_bytes()).hexdigest()
    for name, stamp in parts.images.items():
        if stamp.parts.get(_ROOT_CA, known) != known:
            raise BadInput(f"{name} carries another root CA than {parts.root_ca}", "run: ./esb build")


def named(files: Mapping[str, Deb]) -> dict[str, Blob]:
    """Packages by their file's name."""
    return {pin.path.rpartition("/")[2]: pin.blob for pin in files.values()}
