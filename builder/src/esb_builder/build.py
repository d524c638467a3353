"""Builds the image family on an engine: only what its keys say is not there yet.

For each step of the plan a stamp from an earlier run tells which image the same key gave; where
the engine still has it, on the same parent, nothing runs, so that a build without changes costs
one look at the engine. Else ``docker buildx build`` runs, with secrets as files; its result is
made canonical, which also proves that it stands on the very parent that was built before, and is
loaded under its tag. So a tag only ever names a canonical image, and the next image is built on
that. What an engine lost is loaded again. One builder at a time on an engine.

Where the checkout has a lock, every input comes from the store, no step has a network, and nothing of
this machine is given to a build but the root CA.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from esb_common import settings
from esb_common.errors import BadInput, Broken, EsbError, Misuse
from esb_common.ids import Digest

from esb_builder import artefacts, base, exchange, fetching, locked, oci, python_prefix, run, stamps
from esb_builder.archive import Archive, image_id
from esb_builder.ca import files, judge
from esb_builder.cache import Layouts
from esb_builder.canonical import Shelf, canonicalise
from esb_builder.canonical.document import FORM
from esb_builder.engine import tools
from esb_builder.exchange import Docker, Present, present
from esb_builder.locked import Locked
from esb_builder.plan import FAMILY, Image, Ingredients, Step, chosen, difference, plan
from esb_builder.stamps import Stamp
from esb_builder.store import Store
from esb_builder.voice import Voice

Base = Literal["debian", "registry"]
FUNCTION_IMAGE = "esb-lambda-python"
MISSING = "the engine does not have it"
HOST_TOOLS = ("mmdebstrap", "strip")


@dataclass(frozen=True, slots=True)
class Built:
    """An image as the engine has it now. ``id``: its configuration's digest; ``why``: empty where kept."""

    name: str
    id: Digest
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where building happens: the checkout, ESB_HOME, the engine, and the person's settings.

    ``artefacts`` is a folder with Firecracker's files; without one they are the store's. ``inputs`` are
    the locked ones, which :func:`build` looks up.
    """

    root: Path
    home: Path
    engine: Docker
    environ: Mapping[str, str] = field(repr=False)
    voice: Voice
    source: Base = "debian"
    artefacts: Path | None = None
    inputs: Locked | None = None

    @classmethod
    def from_environ(
        cls, root: Path, engine: Docker, environ: Mapping[str, str], voice: Voice, source: Base = "debian"
    ) -> Workshop:
        home = settings.folder(environ, "ESB_HOME", "~/.esb")
        given = settings.text(environ, "ESB_ARTEFACTS", "")
        return cls(root, home, engine, environ, voice, source, Path(given).absolute() if given else None)

    @property
    def layouts(self) -> Layouts:
        return Layouts(self.home / "cache" / "layouts")

    @property
    def store(self) -> Store:
        return Store(self.home / "store")

    @property
    def shelf(self) -> Shelf:
        return self.shelf_of(self.home)

    @staticmethod
    def shelf_of(home: Path) -> Shelf:
        return Shelf(Store(home / "store"))

    @property
    def root_ca(self) -> Path:
        return settings.folder(self.environ, "ESB_CERT_DIR", self.home / "certs") / "rootCA.crt"

    @property
    def archive(self) -> Path:
        """Where the node finds the function image."""
        return settings.folder(self.environ, "ESB_IMAGE_DIR", self.home / "images") / f"{FUNCTION_IMAGE}.tar"


def build(shop: Workshop, names: Sequence[str] = ()) -> list[Built]:
    """Have the named images (default: PLAIN) in the engine, and the function image's archive beside them."""
    images = chosen(names)
    shop = replace(shop, inputs=_inputs(shop, images))
    steps = plan(shop.root, images, _ingredients(shop, images))
    with _alone(shop):
        results = _execute(shop, steps)
        if FUNCTION_IMAGE in results:
            _save(shop, results[FUNCTION_IMAGE].id)
    return list(results.values())


def shelve(shop: Workshop, names: Sequence[str] = (), *, fresh: bool = False) -> dict[str, Digest]:
    """Build images onto the shelf alone: no tag, stamp or archive is touched. Their ids by name.

    ``fresh`` runs every step again, whatever the engine remembers.
    """
    return {name: stamp.id for name, stamp in prepare(shop, names, fresh=fresh).items()}


def prepare(shop: Workshop, names: Sequence[str] = (), *, fresh: bool = False) -> dict[str, Stamp]:
    """As :func:`shelve`; the stamps with which :func:`adopt` takes what was built into use."""
    images = chosen(names)
    shop = replace(shop, inputs=_inputs(shop, images))
    secrets = _secrets(shop)
    made: dict[str, Stamp] = {}
    for step in plan(shop.root, images, _ingredients(shop, images)):
        parent = made[step.image.parent].id if step.image.parent else None
        with shop.voice.step(f"build {step.image.name} onto the shelf"):
            built = make(shop, step, secrets, parent, fresh=fresh)
        made[step.image.name] = Stamp(dict(step.parts), built, "", "", FORM)
    return made


def adopt(shop: Workshop, family: Mapping[str, Stamp]) -> None:
    """Have images of the shelf under their tags, with the stamps of their builds. Safe to repeat."""
    seen: dict[str, Present] = {}
    with _alone(shop):
        for image in (one for one in FAMILY.values() if one.name in family):
            stamp = family[image.name]
            seen[image.name] = _load(shop, image, stamp.id)
            below = seen[image.parent].engine_id if image.parent in seen else ""
            engine_id = seen[image.name].engine_id
            stamps.write(shop.home, image.name, replace(stamp, engine_id=engine_id, parent_engine_id=below))
        if FUNCTION_IMAGE in family:
            _save(shop, family[FUNCTION_IMAGE].id)


def _inputs(shop: Workshop, images: Sequence[Image]) -> Locked | None:
    found = locked.inputs(shop.root, images, shop.home, shop.layouts, shop.environ, shop.voice)
    if found and shop.source == "registry" != found.lock.source:
        raise Misuse(
            f"esb.lock says that the base comes from {found.lock.source}, not from a registry",
            "to change that: ./esb lock --source registry --update",
        )
    return found


def kept(shop: Workshop) -> dict[str, Digest]:
    """The ids of the images that an earlier build left in the engine and that are still there, by name."""
    found = present(shop.engine, list(FAMILY.values()))
    known = {name: stamps.read(shop.home, name) for name in found}
    return {
        name: stamp.id for name, stamp in known.items() if stamp and stamp.engine_id == found[name].engine_id
    }


def had(engine: Docker, names: Sequence[str]) -> tuple[str, ...]:
    """Those of ``names`` that the engine has, whoever built them."""
    return tuple(present(engine, [FAMILY[name] for name in names]))


def _ingredients(shop: Workshop, images: Sequence[Image]) -> Ingredients:
    uid, gid = settings.gateway_user(shop.environ, os.getuid(), os.getgid())
    content = _root_ca(shop)
    arguments = {
        "ESB_ROOT_CA_SHA256": hashlib.sha256(content).hexdigest(),
        "ESB_UID": str(uid),
        "ESB_GID": str(gid),
        "SOURCE_DATE_EPOCH": str(oci.INSTANT),
    }
    contexts = {}
    if any(artefacts.CONTEXT in image.contexts for image in images):
        found = _artefacts(shop)
        arguments[artefacts.ARGUMENT], contexts[artefacts.CONTEXT] = found.kind, found.key
    if shop.inputs:
        return Ingredients(arguments, contexts, {image.name: shop.inputs.keys(image) for image in images})
    if shop.source == "debian":
        contexts |= {"debian": base.key(), "python": python_prefix.key(_prefix(shop))}
    return Ingredients(arguments, contexts)


def _artefacts(shop: Workshop) -> artefacts.Artefacts:
    if shop.artefacts:
        return artefacts.given(shop.artefacts, shop.root, shop.store)
    return artefacts.stored(shop.root, shop.store)


def _root_ca(shop: Workshop) -> bytes:
    """The root CA's file; BadInput where it is missing or not fit to be baked."""
    content = files.read(shop.root_ca)
    if content is None:
        raise BadInput(f"{shop.root_ca} is missing", "make it with: ./esb ca init")
    judge.root(content, str(shop.root_ca), datetime.now(UTC))
    return content


def _fingerprint(shop: Workshop) -> str:
    return judge.fingerprint(x509.load_pem_x509_certificate(_root_ca(shop)))


def _prefix(shop: Workshop) -> python_prefix.Prefix:
    return python_prefix.find(shop.environ, Path(sys.base_prefix), sys.version_info[:2])


def _execute(shop: Workshop, steps: Sequence[Step]) -> dict[str, Built]:
    seen = present(shop.engine, [step.image for step in steps])
    secrets = functools.cache(lambda: _secrets(shop))
    results: dict[str, Built] = {}
    for step in steps:
        name, below = step.image.name, step.image.parent or ""
        stamp = stamps.read(shop.home, name)
        why = _why(shop, step, stamp, seen.get(name), seen.get(below))
        began = time.monotonic()
        if stamp and why in ("", MISSING):
            made = stamp.id
        else:
            with shop.voice.step(f"build {name} ({why})"):
                made = make(shop, step, secrets(), results[below].id if below else None)
        if why:
            seen[name] = _load(shop, step.image, made)
            _stamp(shop, step, made, seen)
        results[name] = Built(name, made, why, time.monotonic() - began)
    return results


def _stamp(shop: Workshop, step: Step, made: Digest, seen: Mapping[str, Present]) -> None:
    """Remember what a step made, and on what."""
    parent = seen[step.image.parent].engine_id if step.image.parent else ""
    stamp = Stamp(dict(step.parts), made, seen[step.image.name].engine_id, parent, FORM)
    stamps.write(shop.home, step.image.name, stamp)


def _why(shop: Workshop, step: Step, stamp: Stamp | None, now: Present | None, parent: Present | None) -> str:
    """Why an image must be built or loaded, or nothing where the engine has it."""
    if stamp is None:
        return "first build"
    if changed := difference(stamp.parts, step.parts):
        return changed
    if stamp.form != FORM:
        return "the canonical form changed"
    if parent and stamp.parent_engine_id not in ("", parent.engine_id):
        return f"{step.image.parent} is another image now"
    if not shop.shelf.has(stamp.id):
        return "the store does not have it"
    return "" if now and now.engine_id == stamp.engine_id else MISSING


def _load(shop: Workshop, image: Image, wanted: Digest) -> Present:
    """Have an image of the shelf under its tag, and see that the engine understood it as it is."""
    held = {layer for one in kept(shop).values() if shop.shelf.has(one) for layer in shop.shelf.layers(one)}
    with shop.voice.step(f"load {image.name}"):
        exchange.load(shop.engine, shop.home / "cache", shop.shelf, {image.reference: wanted}, held)
    found = present(shop.engine, [image]).get(image.name)
    if found is None or list(found.layers) != shop.shelf.layers(wanted):
        raise Broken(
            f"the engine does not have {image.reference} as it was loaded",
            "something else moved that tag meanwhile; run ./esb build again",
        )
    return found


def _secrets(shop: Workshop) -> dict[str, Path]:
    if shop.inputs:
        return {"esb_root_ca": shop.root_ca}
    apt = base.apt_of_machine(shop.environ) if shop.source == "debian" else None
    return {"esb_root_ca": shop.root_ca, **fetching.write(shop.root, shop.environ, apt)}


def make(
    shop: Workshop, step: Step, secrets: Mapping[str, Path], parent: Digest | None, *, fresh: bool = False
) -> Digest:
    """Build one image on ``parent`` of the shelf; the id under which it lies there. No tag is touched.

    ``fresh`` runs every step again, whatever the engine remembers.
    """
    name = step.image.name
    with exchange.outlet(shop.engine, shop.home / "cache", shop.shelf, parent) as outlet:
        lines: list[str] = []
        words = _arguments(shop, step, secrets, outlet)
        try:
            run.stream(
                ("docker", "buildx", "build", *(["--no-cache"] if fresh else []), *words),
                environ={**shop.engine.environ, **_proxies(shop.environ)},
                cwd=shop.root,
                on_line=lines.append,
            )
        except Broken as error:
            raise told_by_step(name, lines) or error from None
        with Archive(outlet.collect()) as archive:
            (built,) = archive.images()
            return canonicalise(name, built, parent, shop.shelf).id


def _arguments(
    shop: Workshop, step: Step, secrets: Mapping[str, Path], outlet: exchange.Outlet
) -> Iterator[str]:
    image = step.image
    yield from ("--progress=plain", "--provenance=false", "--sbom=false")
    yield from (f"--file={image.dockerfile}", f"--output={outlet.output}")
    if image.parent:
        yield f"--build-context={FAMILY[image.parent].reference}={outlet.parent}"
    yield from (f"--build-arg={name}={value}" for name, value in step.arguments.items())
    if shop.inputs:
        yield "--network=none"
    else:
        yield from (f"--build-arg={name}" for name in _proxies(shop.environ))
    yield from (f"--secret=id={name},src={path}" for name, path in secrets.items())
    yield from (f"--build-context={name}={place}" for name, place in _contexts(shop, image).items())
    if image.parent is None:
        yield f"--label=esb.root_ca.fingerprint={_fingerprint(shop)}"
    yield "."


def _contexts(shop: Workshop, image: Image) -> dict[str, str]:
    """What replaces stages of an image, and where it is."""
    if shop.inputs:
        own = {name: _context(shop, name) for name in image.contexts if name == artefacts.CONTEXT}
        return {**own, **shop.inputs.show(image)}
    replaced = (one for one in image.contexts if one == artefacts.CONTEXT or shop.source == "debian")
    return {name: _context(shop, name) for name in replaced}


def _context(shop: Workshop, name: str) -> str:
    if name == artefacts.CONTEXT:
        return str(_artefacts(shop).show(shop.store, shop.root))
    tools.require(HOST_TOOLS, shop.environ, shop.voice)
    if name == "debian":
        apt = base.apt_of_machine(shop.environ)
        return base.debian(shop.layouts, apt, shop.environ, shop.voice).reference
    return python_prefix.python(shop.layouts, _prefix(shop), shop.environ, shop.voice).reference


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Proxy settings: named on the command line, their values read by the client from its environment."""
    return {name: environ[name] for name in run.PROXY if name in environ}


def told_by_step(image: str, lines: Sequence[str]) -> EsbError | None:
    """What a failed step itself wrote, out of BuildKit's plain progress; None where it is not found."""
    rules = [number for number, line in enumerate(lines) if line == "------"]
    if len(rules) < 2:
        return None
    block = lines[rules[0] + 1 : rules[1]]
    written = (line for line in block if not line.startswith(" > "))
    said = [line.partition(" ")[2] if line[:1].isdigit() else line for line in written]
    return Broken(f"{image} was not built", "\n  ".join(said)) if said else None


def _save(shop: Workshop, wanted: Digest) -> None:
    """Keep the function image's archive current for the node; readers see the old or the new one."""
    target = shop.archive
    if target.exists() and image_id(target) == wanted:
        return
    with shop.voice.step(f"save {FUNCTION_IMAGE} for the node"):
        shop.shelf.archive(target, {FAMILY[FUNCTION_IMAGE].reference: wanted})


def save(engine: Docker, images: Sequence[Image], target: Path) -> None:
    """Write an archive of ``images`` (``docker save``), atomically."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.new")
    engine.docker("save", "--output", aside, *(image.reference for image in images))
    aside.replace(target)


@contextmanager
def _alone(shop: Workshop) -> Iterator[None]:
    """One builder at a time on an engine: a tag moved in the middle would pull a parent from under a child.

    The engine's own client folder is shared by everyone who uses it; a foreign engine has none of ours.
    """
    folder = Path(shop.engine.environ.get("DOCKER_CONFIG", shop.home))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "esb-build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
