"""A ``docker`` for tests: builds a file that says what it was asked, keeps loaded images, runs nothing.

``STAND_IN`` names its folder. ``parents.json`` there says what each Dockerfile stands on, ``seed`` goes into
every build, ``fails`` is what a build says before it fails, ``no-store`` makes it an engine
without containerd's image store. It notes each build's words in ``asked`` and what it was lent in ``lent``.
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
            shutil.copyfile(path, kept(name_in(Path(path))))
        case ["save", "--output", path, name]:
            shutil.copyfile(kept(name), path)
        case ["image", "rm", name]:
            kept(name).unlink()
        case _:
            sys.exit(f"a stand-in does not know {words}")


def kept(name: str) -> Path:
    """Where the archive of a loaded image lies."""
    return PLACE / f"{name}.tar"


def name_in(archive: Path) -> str:
    with Archive(archive) as opened:
        return opened.images()[0].names[0].rpartition("/")[2]


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
    with (place / "own.tar").open("wb") as out:
        oci.write_layer(out, [oci.Entry("made", content=content)])
    return place / "own.tar"


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


def inspect(names: Sequence[str]) -> None:
    for name in names:
        if kept(name).exists():
            with Archive(kept(name)) as opened:
                image = opened.images()[0]
            print(json.dumps([name]), image.id, json.dumps(image.diff_ids), sep="\t")


if __name__ == "__main__":
    main(sys.argv[1:])
