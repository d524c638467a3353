"""Builds the image family on an engine: only what its keys say is not there yet.

For each step of the plan a stamp from an earlier run tells which image the same key gave; where
the engine still has it, on the same parent, nothing runs, so that a build without changes costs
one look at the engine. Else ``docker buildx build`` runs, with secrets as files, and its result
is checked to stand on the very parent that was built before. One builder at a time on an engine.

Layers are stored uncompressed: they load faster into the node's containerd, and an image's
size in the engine is its real one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

from cryptography import x509
from esb_common import settings
from esb_common.errors import BadInput, Broken, EsbError
from esb_common.ids import Digest

from esb_builder import base, fetching, oci, python_prefix, run, stamps
from esb_builder.archive import image_id
from esb_builder.ca import files, judge
from esb_builder.cache import Layouts
from esb_builder.engine import tools
from esb_builder.plan import FAMILY, Image, Ingredients, Step, chosen, difference, plan
from esb_builder.stamps import Stamp
from esb_builder.voice import Voice

Base = Literal["debian", "registry"]
DEFAULT_UID = 10001
FUNCTION_IMAGE = "esb-lambda-python"
HOST_TOOLS = ("mmdebstrap", "strip")


class Docker(Protocol):
    """What building needs of an engine."""

    @property
    def environ(self) -> Mapping[str, str]:
        """The whole environment for a ``docker`` command."""

    def docker(self, *args: str | Path, check: bool = True) -> run.Completed:
        """Run ``docker args`` to its end."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image as the engine has it now. ``id``: its configuration's digest; ``why``: empty where kept."""

    name: str
    id: Digest
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Present:
    """What an engine says of an image: its own id, and the layers' diffIDs, lowest first."""

    engine_id: str
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where building happens: the checkout, ESB_HOME, the engine, and the person's settings."""

    root: Path
    home: Path
    engine: Docker
    environ: Mapping[str, str] = field(repr=False)
    voice: Voice
    source: Base = "debian"

    @classmethod
    def from_environ(
        cls, root: Path, engine: Docker, environ: Mapping[str, str], voice: Voice, source: Base = "debian"
    ) -> Workshop:
        return cls(root, settings.folder(environ, "ESB_HOME", "~/.esb"), engine, environ, voice, source)

    @property
    def layouts(self) -> Layouts:
        return Layouts(self.home / "cache" / "layouts")

    @property
    def root_ca(self) -> Path:
        return settings.folder(self.environ, "ESB_CERT_DIR", self.home / "certs") / "rootCA.crt"

    @property
    def archive(self) -> Path:
        """Where the node finds the function image."""
        return settings.folder(self.environ, "ESB_IMAGE_DIR", self.home / "images") / f"{FUNCTION_IMAGE}.tar"


def build(shop: Workshop, names: Sequence[str] = ()) -> list[Built]:
    """Have the named images (default: all) in the engine, and the function image's archive beside them."""
    steps = plan(shop.root, chosen(names), _ingredients(shop))
    with _alone(shop):
        results = _execute(shop, steps)
        if FUNCTION_IMAGE in results:
            _save(shop, results[FUNCTION_IMAGE].id)
    return list(results.values())


def gateway_user(environ: Mapping[str, str], uid: int, gid: int) -> tuple[int, int]:
    """The user to build the gateway for: ESB_UID and ESB_GID, else who builds, and 10001 in place of root."""
    own = (uid, gid) if uid != 0 else (DEFAULT_UID, DEFAULT_UID)
    return settings.number(environ, "ESB_UID", own[0]), settings.number(environ, "ESB_GID", own[1])


def kept(shop: Workshop) -> dict[str, Digest]:
    """The ids of the images that an earlier build left in the engine and that are still there, by name."""
    present = _inspect(shop.engine, list(FAMILY.values()))
    known = {name: stamps.read(shop.home, name) for name in present}
    return {
        name: stamp.id
        for name, stamp in known.items()
        if stamp and stamp.engine_id == present[name].engine_id
    }


def _ingredients(shop: Workshop) -> Ingredients:
    uid, gid = gateway_user(shop.environ, os.getuid(), os.getgid())
    content = _root_ca(shop)
    arguments = {
        "ESB_ROOT_CA_SHA256": hashlib.sha256(content).hexdigest(),
        "ESB_UID": str(uid),
        "ESB_GID": str(gid),
        "SOURCE_DATE_EPOCH": str(oci.INSTANT),
    }
    if shop.source == "registry":
        return Ingredients(arguments, {})
    return Ingredients(arguments, {"debian": base.key(), "python": python_prefix.key(_prefix(shop))})


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
    seen = _inspect(shop.engine, [step.image for step in steps])
    secrets: dict[str, Path] = {}
    results: dict[str, Built] = {}
    for step in steps:
        stamp = stamps.read(shop.home, step.image.name)
        parent = seen.get(step.image.parent or "")
        why = _why(step, stamp, seen.get(step.image.name), parent)
        if not why:
            assert stamp is not None
            results[step.image.name] = Built(step.image.name, stamp.id, "", 0.0)
            continue
        secrets = secrets or _secrets(shop)
        began = time.monotonic()
        with shop.voice.step(f"build {step.image.name} ({why})"):
            built = _build_one(shop, step, secrets)
        seen |= _inspect(shop.engine, [step.image])
        now = seen[step.image.name]
        _refuse_other_parent(step.image, now, parent)
        parent_id = parent.engine_id if parent else ""
        stamps.write(shop.home, step.image.name, Stamp(dict(step.parts), built, now.engine_id, parent_id))
        results[step.image.name] = Built(step.image.name, built, why, time.monotonic() - began)
    return results


def _why(step: Step, stamp: Stamp | None, present: Present | None, parent: Present | None) -> str:
    """Why an image must be built, or nothing where the engine has it."""
    if stamp is None:
        return "first build"
    if changed := difference(stamp.parts, step.parts):
        return changed
    if present is None or present.engine_id != stamp.engine_id:
        return "the engine does not have it"
    if parent and parent.engine_id != stamp.parent_engine_id:
        return f"{step.image.parent} is another image now"
    return ""


def _refuse_other_parent(image: Image, now: Present, parent: Present | None) -> None:
    if parent and now.layers[: len(parent.layers)] != parent.layers:
        raise Broken(
            f"{image.name} does not stand on the {image.parent} that was built before it",
            "something else moved that tag meanwhile; run ./esb build again",
        )


def _secrets(shop: Workshop) -> dict[str, Path]:
    apt = base.apt_of_machine(shop.environ) if shop.source == "debian" else None
    return {"esb_root_ca": shop.root_ca, **fetching.write(shop.root, shop.environ, apt)}


def _build_one(shop: Workshop, step: Step, secrets: Mapping[str, Path]) -> Digest:
    with tempfile.TemporaryDirectory(prefix="esb-build-") as scratch:
        metadata = Path(scratch, "metadata.json")
        lines: list[str] = []
        try:
            run.stream(
                ("docker", *_arguments(shop, step, secrets, metadata)),
                environ={**shop.engine.environ, **_proxies(shop.environ)},
                cwd=shop.root,
                on_line=lines.append,
            )
        except Broken as error:
            raise told_by_step(step.image.name, lines) or error from None
        written: dict[str, Any] = json.loads(metadata.read_text())
    return Digest(written["containerimage.config.digest"])


def _arguments(shop: Workshop, step: Step, secrets: Mapping[str, Path], metadata: Path) -> Iterator[str]:
    image = step.image
    kept = "compression=uncompressed,force-compression=true,oci-mediatypes=true"
    yield from ("buildx", "build", "--progress=plain", "--provenance=false", "--sbom=false")
    yield from (f"--file={image.dockerfile}", f"--output=type=image,name={image.reference},{kept}")
    yield f"--metadata-file={metadata}"
    yield from (f"--build-arg={name}={value}" for name, value in step.arguments.items())
    yield from (f"--build-arg={name}" for name in _proxies(shop.environ))
    yield from (f"--secret=id={name},src={path}" for name, path in secrets.items())
    yield from (f"--build-context={name}={_context(shop, name)}" for name in _replaced(shop, image))
    if image.parent is None:
        yield f"--label=esb.root_ca.fingerprint={_fingerprint(shop)}"
    yield "."


def _replaced(shop: Workshop, image: Image) -> tuple[str, ...]:
    return image.contexts if shop.source == "debian" else ()


def _context(shop: Workshop, name: str) -> str:
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


def _inspect(engine: Docker, images: Sequence[Image]) -> dict[str, Present]:
    """The images of ``images`` that the engine has, by name."""
    shown = engine.docker(
        "image",
        "inspect",
        "--format={{json .RepoTags}}\t{{.Id}}\t{{json .RootFS.Layers}}",
        *(image.reference for image in images),
        check=False,
    )
    found = {}
    for tags, engine_id, layers in (line.split("\t") for line in shown.stdout.splitlines() if "\t" in line):
        for tag in json.loads(tags):
            name = tag.removesuffix(":latest")
            if name in FAMILY:
                found[name] = Present(engine_id, tuple(json.loads(layers)))
    return found


def _save(shop: Workshop, wanted: Digest) -> None:
    """Keep the function image's archive current for the node; readers see the old or the new one."""
    target = shop.archive
    if target.exists() and image_id(target) == wanted:
        return
    with shop.voice.step(f"save {FUNCTION_IMAGE} for the node"):
        save(shop.engine, [FAMILY[FUNCTION_IMAGE]], target)


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
