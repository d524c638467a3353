"""Loading a bundle: the list first, then the store, and only then anything that somebody sees."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from esb_common.errors import BadInput

from esb_builder import oci, stamps
from esb_builder.bundle.contents import KIND, Contents, decode
from esb_builder.bundle.roll import CONTENTS, SIGNER, Roll
from esb_builder.ca import files
from esb_builder.signing import attestations, dsse, keys
from esb_builder.store import Blob, Store
from esb_builder.voice import Voice


@dataclass(frozen=True, slots=True)
class Loaded:
    """``present`` files were in the store before. ``images``: whether they can be used as they are."""

    contents: Contents
    files: int
    present: int
    images: bool


def load(path: Path, root: Path, home: Path, root_ca: Path, trust: str | None, voice: Voice) -> Loaded:
    """Load a bundle for the checkout at ``root`` into ``home``. Safe to repeat and to break off.

    ``root_ca`` is written where it is missing and never replaced. Misuse without a fingerprint; BadInput,
    with nothing outside the store changed, where anything is not as the trusted key signed it.
    """
    wanted = attestations.trusted(trust)
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    with file:
        roll = Roll(file, path.name)
        contents = _trusted(roll, path.name, wanted)
        _refuse_other_checkout(contents, root, path.name)
        _refuse_other_blobs(roll.blobs, contents.blobs, path.name)
        store = Store(home / "store")
        with voice.step(f"verify and store {len(contents.blobs)} files"):
            present = sum(_stored(roll, store, Blob(*one), path.name) for one in contents.blobs.items())
    with voice.step("put it in place"):
        own = _placed(contents, store, home, root_ca)
    return Loaded(contents, len(contents.blobs) - present, present, own)


def _trusted(roll: Roll, name: str, fingerprint: str) -> Contents:
    """The list, if the key with that fingerprint signed it."""
    verifier = keys.verifier(roll.head(SIGNER), f"{name}: the signer's key")
    if verifier.fingerprint != fingerprint:
        raise BadInput(
            f"{name} is signed with the key {verifier.fingerprint}, not with the trusted {fingerprint}",
            "ask who made it for the right fingerprint (./esb key show), or do not load it",
        )
    return decode(dsse.opened(roll.head(CONTENTS), KIND, verifier, name), name)


def _refuse_other_checkout(contents: Contents, root: Path, name: str) -> None:
    lock = files.read(root / "esb.lock")
    if lock is None or hashlib.sha256(lock).hexdigest() != contents.lock:
        raise BadInput(
            f"{name} was made from another checkout: its esb.lock is not this one's",
            "take the checkout that it was made from",
        )
    if contents.architecture != oci.architecture():
        raise BadInput(f"{name} is for {contents.architecture}, this machine is {oci.architecture()}")


def _refuse_other_blobs(found: Mapping[str, int], signed: Mapping[str, int], name: str) -> None:
    if lacking := sorted(signed.keys() - found.keys()):
        raise BadInput(f"{name} lacks {len(lacking)} of its files, first {lacking[0]}", "copy it again")
    if other := sorted(one for one in found if found[one] != signed.get(one)):
        raise BadInput(f"{name} holds {other[0]}, which was not signed as it is", "do not load it")


def _stored(roll: Roll, store: Store, blob: Blob, name: str) -> bool:
    """Have a file in the store, with the right bytes; whether it was there."""
    if store.has(blob) and store.vet(blob.sha256):
        return True
    try:
        store.put(roll.chunks(blob.sha256), blob)
    except BadInput as error:
        raise BadInput(f"{name} is damaged: {error.fact}", "copy it again") from None
    return False


def _placed(contents: Contents, store: Store, home: Path, root_ca: Path) -> bool:
    """Everything that somebody sees, each in one step; whether the images carry this machine's root CA.

    In this order a load that is broken off leaves at worst images that are built again from the store.
    """
    for name, sha256 in contents.attestations.items():
        place = home / "attestations" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        files.write(place, store.path(sha256).read_bytes(), 0o644)
    store.view(home / "offline", _offline(contents, store))
    shutil.rmtree(home / "offline.seed", ignore_errors=True)  # what the launcher took to get this far
    own = files.read(root_ca)
    if own is None:
        root_ca.parent.mkdir(parents=True, exist_ok=True)
        files.write(root_ca, store.path(contents.root_ca).read_bytes(), 0o644)
    elif hashlib.sha256(own).hexdigest() != contents.root_ca:
        return False
    for name, stamp in contents.images.items():
        known = stamps.read(home, name)
        if known is None or replace(known, engine_id="", parent_engine_id="") != stamp:
            stamps.write(home, name, stamp)
    return True


def _offline(contents: Contents, store: Store) -> dict[str, str]:
    folders = {"wheels": contents.wheels, "engine": contents.engine, "host": contents.host}
    named = {f"{kind}/{name}": sha256 for kind, one in folders.items() for name, sha256 in one.items()}
    return {**named, "locks": store.add_bytes("".join(f"{one}\n" for one in contents.locks).encode()).sha256}
