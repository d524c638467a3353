"""What an image was made of, from the record of its build.

The record (a stamp) says the digest of every file of the checkout and the key of every context. A key
is a hash over what the context holds, so a lock that gives the same key *is* what was
built from, entry by entry; a lock that has moved on since gives another, and nothing is claimed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from esb_common.errors import BadInput
from esb_common.ids import Digest

from esb_builder import artefacts, stamps
from esb_builder.artefacts import Artefacts
from esb_builder.locked import BASE_STAGE, BASE_STEP, DEBS, PYTHON_STAGE, Locked
from esb_builder.plan import FAMILY, Image
from esb_builder.stamps import Stamp

_ARGUMENT, _CONTEXT, _PARENT, _RECIPE = "argument ", "context ", "parent ", "the way of building"
_ROOT_CA = "ESB_ROOT_CA_SHA256"
_SHA256 = re.compile(r"[-x]?(?P<sha256>[0-9a-f]{64})")
NOTHING = "none"
"""The key of a context that the build did not replace."""


@dataclass(frozen=True, slots=True)
class Input:
    """One file (or image) that went in; ``context`` is the build context that carried it, if any."""

    name: str
    sha256: str
    context: str = ""


@dataclass(frozen=True, slots=True)
class Record:
    """A build as it happened.

    ``locked``: every context came out of the lock, file by file, so no step had to fetch anything.
    """

    image: str
    id: Digest
    key: str
    recipe: str
    form: int
    arguments: Mapping[str, str]
    inputs: tuple[Input, ...]
    locked: bool


def of(name: str, image: Digest, home: Path, locked: Locked | None, given: Artefacts | None) -> Record:
    """The record of an image. BadInput where this machine did not build it, or not from what is here now."""
    stamp = stamps.read(home, name)
    if stamp is None or stamp.id != image:
        raise BadInput(
            f"there is no record of how {name} {image} was built", f"build it here: ./esb build {name}"
        )
    arguments, contexts = _starting(stamp.parts, _ARGUMENT), _starting(stamp.parts, _CONTEXT)
    known = _known(FAMILY[name], locked, given)
    return Record(
        image=name,
        id=image,
        key=key_of(stamp.parts),
        recipe=stamp.parts[_RECIPE],
        form=stamp.form,
        arguments=arguments,
        inputs=(
            *_files(stamp.parts),
            *_parent(name, stamp, home),
            *(
                Input("rootCA.crt", value, "esb_root_ca")
                for key, value in arguments.items()
                if key == _ROOT_CA
            ),
            *(one for context, key in contexts.items() for one in _of_context(context, key, known)),
        ),
        locked=locked is not None
        and all(contexts.get(context) == key for context, (key, _) in known.items()),
    )


def _files(parts: Mapping[str, str]) -> Iterator[Input]:
    named = (_ARGUMENT, _CONTEXT, _PARENT)
    for name, value in parts.items():
        if name != _RECIPE and not name.startswith(named) and (match := _SHA256.fullmatch(value)):
            yield Input(name, match["sha256"])


def _parent(name: str, stamp: Stamp, home: Path) -> Iterator[Input]:
    """The image that it stands on, which must still be the one that it was built on."""
    for parent, key in _starting(stamp.parts, _PARENT).items():
        found = stamps.read(home, parent)
        if found is None or key_of(found.parts) != key:
            raise BadInput(f"{parent} is another image now than {name} was built on", "run: ./esb build")
        yield Input(parent, found.id.removeprefix("sha256:"))


Known = Mapping[str, tuple[str, Mapping[str, str]]]
"""By context: the key that it would have now, and what it would hold then (SHA-256 by name)."""


def _known(image: Image, locked: Locked | None, given: Artefacts | None) -> Known:
    found: dict[str, tuple[str, Mapping[str, str]]] = {}
    if locked is not None:
        keys = locked.keys(image)
        found |= {context: (key, _of_lock(locked, image, context)) for context, key in keys.items()}
    if artefacts.CONTEXT in image.contexts:
        found[artefacts.CONTEXT] = (given.key, given.files) if given else ("", {})
    return found


def _of_context(context: str, key: str, known: Known) -> tuple[Input, ...]:
    """The files of a context whose key was ``key``; the context itself where no list has that key."""
    now, files = known.get(context, ("", {}))
    if key == now:
        return tuple(Input(name, sha256, context) for name, sha256 in files.items())
    return () if key == NOTHING else (Input(f"{_CONTEXT}{context}", _hex(key), context),)


def _of_lock(locked: Locked, image: Image, context: str) -> dict[str, str]:
    lock, recipe = locked.lock, locked.recipes.of[image.name]
    if context in lock.images:
        found = lock.images[context]
        return {found.reference: found.digest.removeprefix("sha256:")}
    if context == PYTHON_STAGE:
        assert lock.python is not None
        return {lock.python.path: lock.python.sha256}
    if context in (BASE_STAGE, DEBS):
        step = BASE_STEP if context == BASE_STAGE else recipe.step or ""
        return {deb.path: deb.sha256 for deb in lock.steps[step].packages.values()}
    return {pin.path: pin.sha256 for pin in lock.wheels[recipe.wheels[context]].wheels.values()}


def _starting(parts: Mapping[str, str], start: str) -> dict[str, str]:
    return {name.removeprefix(start): value for name, value in parts.items() if name.startswith(start)}


def key_of(parts: Mapping[str, str]) -> str:
    """As :attr:`esb_builder.plan.Step.key`."""
    return hashlib.sha256(json.dumps(dict(parts), sort_keys=True).encode()).hexdigest()


def _hex(key: str) -> str:
    """A key as a digest: keys of other kinds than SHA-256 are hashed."""
    return key if re.fullmatch(r"[0-9a-f]{64}", key) else hashlib.sha256(key.encode()).hexdigest()
