"""A ``docker`` for tests: builds a file that says what it was asked, keeps loaded images, runs nothing.

``STAND_IN`` names its folder. ``parents.json`` there says what each Dockerfile stands on, ``seed`` goes into
every build, ``fails`` is what a build says before it fails, ``no-store`` makes it an engine
without containerd's image store. It notes each build's words in ``asked``, what it was lent in ``lent``, and
the blobs of the last load in ``given``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from esb_builder import oci
from esb_builder.archive import Archive
from esb_builder.verify.trust import BAKED

PLACE = Path(os.environ["STAND_IN"])


def main(words: Sequence[str]) -> None:
    match words:
        case ["info", *_]:
            kind = "overlay2" if (PLACE / "no-store").exists() else "io.containerd.snapshotter.v1"
            print(json.dumps([["driver-type", kind]]))
        case ["buildx", "build", *options]:
            build(options)
        case ["image", "inspect", _, *names]:
            inspect(names)
        case ["load", *_, path]:
            load(Path(path))
        case ["save", "--output", path, name]:
            shutil.copyfile(kept(name), path)
        case ["save", "--output", path, *names]:
            save(Path(path), names)
        case ["image", "ls", *_]:
            listed()
        case ["image", "rm", name]:
            kept(name).unlink()
        case _:
            sys.exit(f"a stand-in does not know {words}")


def kept(name: str) -> Path:
    """Where the archive of a loaded image lies."""
    return PLACE / f"{name}.tar"


def load(archive: Path) -> None:
    """Keep an image; what it names and does not contain must have come with an earlier one."""
    content = PLACE / "content"
    content.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        layout = unpacked(archive, Path(scratch, "layout"))
        blobs = layout / "blobs/sha256"
        (PLACE / "given").write_text(json.dumps(sorted(path.name for path in blobs.iterdir())))
        shutil.copytree(content, blobs, dirs_exist_ok=True)
        with Archive(layout) as opened:
            (image,) = opened.images()
            name = image.names[0].rpartition("/")[2]
        shutil.copytree(blobs, content, dirs_exist_ok=True)
        oci.write_archive(kept(name), layout)


def save(target: Path, names: Sequence[str]) -> None:
    """Several images in one archive."""
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch)
        entries = []
        for name in names:
            index = json.loads((unpacked(kept(name), merged) / "index.json").read_text())
            entries += index["manifests"]
        (merged / "index.json").write_text(json.dumps({**index, "manifests": entries}))
        with tarfile.open(target, "w") as tar:
            tar.add(merged, arcname="")


def build(options: Sequence[str]) -> None:
    with (PLACE / "asked").open("a") as out:
        out.write(json.dumps(options) + "\n")
    if (PLACE / "fails").exists():
        sys.exit((PLACE / "fails").read_text())
    given = {name: value for name, _, value in (one.partition("=") for one in options)}
    output = dict(one.split("=") for one in given["--output"].split(","))
    with tempfile.TemporaryDirectory() as scratch:
        layout = Path(scratch, "layout")
        parent = json.loads((PLACE / "parents.json").read_text())[given["--file"]]
        below = list(layers_of(f"{parent}:latest", options, Path(scratch))) if parent else []
        oci.write_image(layout, [*below, own(options, Path(scratch))], {}, output.get("name", ""))
        if "name" in output:
            oci.write_archive(kept(output["name"]), layout)
            return
        lent = Path(output["dest"], "blobs/sha256").glob("*")
        (PLACE / "lent").write_text(json.dumps(sorted(path.name for path in lent)))
        shutil.copytree(layout, output["dest"], dirs_exist_ok=True)


def own(options: Sequence[str], place: Path) -> Path:
    """The layer that a build adds: it says what it was made from."""
    told = [one for one in options if one.startswith(("--build-arg", "--file"))]
    content = "\n".join([*told, (PLACE / "seed").read_text()]).encode()
    baked = [oci.Entry(BAKED, content=root_ca(options))] if any("os-base" in one for one in told) else []
    with (place / "own.tar").open("wb") as out:
        oci.write_layer(out, [oci.Entry("made", content=content), *baked])
    return place / "own.tar"


def root_ca(options: Sequence[str]) -> bytes:
    """The secret that os-base bakes."""
    start = "--secret=id=esb_root_ca,src="
    return Path(next(one.removeprefix(start) for one in options if one.startswith(start))).read_bytes()


def layers_of(name: str, options: Sequence[str], place: Path) -> Iterator[Path]:
    """The layers of a parent as files, lowest first: from the context of its name, else from its tag."""
    start = f"--build-context={name}=oci-layout://"
    given = next((one.removeprefix(start) for one in options if one.startswith(start)), None)
    source = Path(given.partition("@")[0]) if given else unpacked(kept(name), place / "parent")
    with Archive(source) as opened:
        diff_ids = opened.images()[0].diff_ids
    yield from (source / "blobs" / one.replace(":", "/") for one in diff_ids)


def unpacked(archive: Path, place: Path) -> Path:
    with tarfile.open(archive) as tar:
        tar.extractall(place, filter="data")
    return place


def listed() -> None:
    for path in PLACE.glob("*:*.tar"):
        with Archive(path) as opened:
            print(opened.images()[0].id, *path.name.removesuffix(".tar").split(":"), sep="\t")


def inspect(names: Sequence[str]) -> None:
    for name in names:
        if kept(name).exists():
            with Archive(kept(name)) as opened:
                image = opened.images()[0]
            print(json.dumps([name]), image.id, json.dumps(image.diff_ids), sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
