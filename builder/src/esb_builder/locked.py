"""Inputs of a build out of lock and store: what each named context of each image holds, and its key.

A context is exactly what its step needs: a folder of hard links to the step's packages or wheels, or an OCI
layout. Its key is made of names and hashes that the lock gives, so it changes with the content and
with nothing else, and an unrelated package breaks no cache. The base is bootstrapped from the locked
packages alone: a small archive is laid out of them for mmdebstrap, which then has nothing to choose.
About 15 s once per lock of the base; everything else is links.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from esb_common import ids
from esb_common.errors import BadInput

from esb_builder import base, oci, run
from esb_builder.cache import Layouts
from esb_builder.engine import tools
from esb_builder.lock import own_python, recipes, resolve, text
from esb_builder.lock.model import Deb, Lock, Pin
from esb_builder.lock.model import Image as PublicImage
from esb_builder.plan import Image
from esb_builder.store import Blob, Store
from esb_builder.voice import Voice

BASE_STEP = recipes.BASE
BASE_STAGE, PYTHON_STAGE, DEBS = resolve.BASE_STAGE, "python", "debs"
RECIPE = 1
"""Rises with each change of what is made of the same locked files."""


@dataclass(frozen=True, slots=True)
class Locked:
    """The inputs of images, all of them in the store. What is laid out is hashed once more before."""

    lock: Lock
    recipes: recipes.Recipes
    store: Store
    layouts: Layouts
    views: Path
    environ: Mapping[str, str] = field(repr=False)
    voice: Voice

    def keys(self, image: Image) -> dict[str, str]:
        """The key of each context that replaces a stage of ``image``."""
        return {context: _key(self._content(image, context)) for context in self._contexts(image)}

    def show(self, image: Image) -> dict[str, str]:
        """Lay the contexts of ``image`` out; where each is, in ``docker buildx build``'s words."""
        return {context: self._shown(image, context) for context in self._contexts(image)}

    def _contexts(self, image: Image) -> Iterator[str]:
        recipe = self.recipes.of[image.name]
        yield from (stage for stage in (BASE_STAGE, PYTHON_STAGE) if stage in image.contexts)
        if recipe.step:
            yield DEBS
        yield from recipe.wheels

    def _content(self, image: Image, context: str) -> list[list[str]]:
        """What decides a context, in the order of names."""
        if context == BASE_STAGE and not self.lock.images:
            return [["made by", str(RECIPE), base.key(), str(self._instant)], *_named(self._files(BASE_STEP))]
        if context in self.lock.images:
            return [[blob.sha256] for blob in self.lock.images[context].blobs]
        if context == PYTHON_STAGE:
            return [[_python(self.lock).sha256]]
        return _named(self._view(image, context))

    def _shown(self, image: Image, context: str) -> str:
        if context in self.lock.images:
            return self._public(context, self.lock.images[context])
        if context == BASE_STAGE:
            return self._base(_key(self._content(image, context)))
        if context == PYTHON_STAGE:
            return self._python()
        folder = self.views / image.name.replace(":", "-") / context
        self._lay(folder, self._view(image, context))
        return str(folder)

    def _lay(self, folder: Path, files: Mapping[str, str]) -> None:
        """A view of files whose bytes are still right. BadInput for one that was damaged in the store."""
        if damaged := [name for name, sha256 in files.items() if not self.store.vet(sha256)]:
            raise BadInput(
                f"{damaged[0]} was damaged in the store and is removed", "bring it again: ./esb fetch"
            )
        self.store.view(folder, files)

    def _view(self, image: Image, context: str) -> dict[str, str]:
        """SHA-256 by file name of a folder of packages or wheels."""
        if context == DEBS:
            return self._files(self.recipes.of[image.name].step or "")
        wheels = self.lock.wheels[self.recipes.of[image.name].wheels[context]].wheels
        return {pin.path: pin.sha256 for pin in wheels.values()}

    def _files(self, step: str) -> dict[str, str]:
        return {_file(deb.path): deb.sha256 for deb in self.lock.steps[step].packages.values()}

    def _base(self, key: str) -> str:
        """The root that mmdebstrap makes of the locked packages and nothing else."""

        def make(folder: Path) -> None:
            with (
                tempfile.TemporaryDirectory(dir=self.layouts.folder) as scratch,
                self.voice.step("bootstrap Debian 12 from locked packages"),
            ):
                tools.require(("mmdebstrap",), self.environ, self.voice)
                archive, root = Path(scratch, "archive"), Path(scratch, "root.tar")
                self._lay_out(archive)
                apt = base.Apt((f"deb [trusted=yes] copy:{archive} {base.RELEASE} main",), "")
                base.bootstrap(root, apt, Path(scratch), self.environ, self._instant)
                base.write_image(folder, root)

        return self.layouts.get("debian", key, make).reference

    def _lay_out(self, archive: Path) -> None:
        """A small Debian archive of the base's packages. It needs no signature: the lock has their hashes."""
        architecture = self.lock.architecture
        index = archive / f"dists/{base.RELEASE}/main/binary-{architecture}"
        self._lay(archive / "pool", self._files(BASE_STEP))
        index.mkdir(parents=True)
        base_packages = sorted(self.lock.steps[BASE_STEP].packages.items())
        packages = "\n".join(self._stanza(archive, deb) for _, deb in base_packages)
        (index / "Packages").write_text(packages)
        blob = Blob(hashlib.sha256(packages.encode()).hexdigest(), len(packages.encode()))
        release = f"Suite: {base.RELEASE}\nCodename: {base.RELEASE}\n"
        release += f"Architectures: {architecture}\nComponents: main\n"
        sums = f"SHA256:\n {blob.sha256} {blob.size} main/binary-{architecture}/Packages\n"
        (index.parents[1] / "Release").write_text(release + sums)

    def _stanza(self, archive: Path, deb: Deb) -> str:
        file = f"pool/{_file(deb.path)}"
        control = run.run(("dpkg-deb", "--field", archive / file), environ=run.clean(self.environ)).stdout
        return f"{control.rstrip()}\nFilename: {file}\nSize: {deb.size}\nSHA256: {deb.sha256}\n"

    def _python(self) -> str:
        pin = _python(self.lock)

        def make(folder: Path) -> None:
            with tempfile.TemporaryDirectory(dir=self.layouts.folder) as scratch:
                self._lay(Path(scratch, "view"), {pin.path: pin.sha256})
                oci.write_image(folder, [Path(scratch, "view", pin.path)])

        return self.layouts.get("python", pin.sha256, make).reference

    def _public(self, stage: str, image: PublicImage) -> str:
        """A public image's own blobs as a layout."""
        folder = self.views / "images" / stage
        self._lay(folder, {f"blobs/sha256/{blob.sha256}": blob.sha256 for blob in image.blobs})
        digest = ids.digest(f"sha256:{image.manifest.sha256}")
        oci.write_index(folder, digest, image.manifest.size)
        return f"oci-layout://{folder}@{digest}"

    @property
    def _instant(self) -> int:
        """No file of the base is younger than the index that its packages come from, in seconds."""
        return max(int(datetime.fromisoformat(one.date).timestamp()) for one in self.lock.archives.values())


def inputs(
    root: Path,
    images: Sequence[Image],
    home: Path,
    layouts: Layouts,
    environ: Mapping[str, str],
    voice: Voice,
) -> Locked | None:
    """The locked inputs of ``images``; None where the checkout below ``root`` has no lock.

    BadInput where the lock does not fit the checkout, or where the store lacks something.
    """
    lock = read(root)
    if lock is None:
        return None
    store = Store(home / "store")
    lock = own_python.applied(lock, home, store)
    asked = recipes.read(root, {image.name: image for image in images})
    found = Locked(lock, asked, store, layouts, home / "cache/views", environ, voice)
    if lacking := missing(lock, asked, found.store):
        few = ", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else "")
        raise BadInput(
            f"the store lacks {len(lacking)} files of {text.FILE}: {few}", "bring them: ./esb fetch"
        )
    return found


def lacking(root: Path, home: Path, images: Sequence[Image]) -> list[str]:
    """What a build of ``images`` would not find in the store, by name; nothing where there is no lock."""
    lock = read(root)
    if lock is None:
        return []
    store = Store(home / "store")
    asked = recipes.read(root, {image.name: image for image in images})
    return missing(own_python.applied(lock, home, store), asked, store)


def read(root: Path) -> Lock | None:
    """The lock of a checkout; None where it has none."""
    return resolve.read(root)


def missing(lock: Lock, asked: recipes.Recipes, store: Store) -> list[str]:
    """What the store lacks of what is asked, by name. BadInput where the lock does not answer all of it."""
    if stale := resolve.stale_inputs(lock, asked):
        raise BadInput(
            f"{text.FILE} does not fit this checkout: {stale[0]}",
            "fill its gaps: ./esb lock; move what changed: ./esb lock --update NAME",
        )
    if lock.architecture != oci.architecture():
        raise BadInput(
            f"{text.FILE} is for {lock.architecture}", "write one for this machine: ./esb lock --update"
        )
    return sorted({name for name, blob in _needed(lock, asked) if not store.has(blob)})


def _needed(lock: Lock, asked: recipes.Recipes) -> Iterator[tuple[str, Blob]]:
    for step in [*asked.asked, *(lock.steps.keys() & {BASE_STEP})]:
        yield from ((name, deb.blob) for name, deb in lock.steps[step].packages.items())
    for one in asked.requirements:
        yield from ((name, pin.blob) for name, pin in lock.wheels[one].wheels.items())
    for public in lock.images.values():
        yield from ((public.reference, blob) for blob in public.blobs)
    if lock.python:
        yield "python", lock.python.blob


def _python(lock: Lock) -> Pin:
    assert lock.python is not None, "a stale lock was refused before"
    return lock.python


def _key(content: Sequence[Sequence[str]]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _named(files: Mapping[str, str]) -> list[list[str]]:
    return [[name, files[name]] for name in sorted(files)]


def _file(path: str) -> str:
    return path.rpartition("/")[2]
