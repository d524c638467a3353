"""Whole locks for whatever a checkout asks for, of small made-up files that lie in a store."""

from __future__ import annotations

from esb_builder import oci
from esb_builder.lock.firecracker import ARTEFACTS
from esb_builder.lock.model import Archive, Deb, Image, Lock, Pin, Step, WheelSet
from esb_builder.lock.recipes import Recipes
from esb_builder.store import Blob, Store

_NOTHING = Blob("0" * 64, 0)
_ARCHIVES = {"bookworm": Archive("2026-07-11T10:16:37Z", _NOTHING, _NOTHING)}


def deb(store: Store, name: str) -> Deb:
    blob = store.add_bytes(name.encode())
    return Deb("1:1.0", "amd64", "bookworm", blob.sha256, blob.size, f"pool/main/{name}_1.0_amd64.deb")


def pin(store: Store, name: str) -> Pin:
    blob = store.add_bytes(name.encode())
    return Pin("1.0", blob.sha256, blob.size, f"{name}-1.0-py3-none-any.whl")


def bootstrapped(store: Store, asked: Recipes) -> Lock:
    """A lock of source *debian*."""
    base = {"base": Step(("apt",), {"apt": deb(store, "apt")})}
    steps = {**base, **_steps(store, asked)}
    wheels = _wheels(store, asked)
    artefacts = ARTEFACTS[oci.architecture()]
    return Lock(
        "debian", oci.architecture(), _ARCHIVES, steps, wheels, artefacts, python=pin(store, "python")
    )


def of_registry(store: Store, asked: Recipes) -> Lock:
    """A lock of source *registry*."""
    images = {
        stage: Image(reference, digest, store.add_bytes(stage.encode()), store.add_bytes(b"{}"), ())
        for stage, (reference, digest) in asked.images.items()
    }
    artefacts = ARTEFACTS[oci.architecture()]
    steps, wheels = _steps(store, asked), _wheels(store, asked)
    return Lock("registry", oci.architecture(), _ARCHIVES, steps, wheels, artefacts, images)


def _steps(store: Store, asked: Recipes) -> dict[str, Step]:
    return {name: Step(words, {one: deb(store, one) for one in words}) for name, words in asked.asked.items()}


def _wheels(store: Store, asked: Recipes) -> dict[str, WheelSet]:
    return {
        name: WheelSet(path, sha256, {f"{name}-wheel": pin(store, f"{name}-wheel")})
        for name, (path, sha256) in asked.requirements.items()
    }
