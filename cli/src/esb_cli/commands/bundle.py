"""``esb bundle``: all of ESB in one file, for a machine without network."""

from __future__ import annotations

from pathlib import Path

import click
from esb_builder import artefacts, bundle, plan
from esb_builder.bundle import gathering, packing
from esb_builder.ca import Folders
from esb_builder.lock import resolve, text
from esb_builder.signing import keys
from esb_common import settings
from esb_common.errors import BadInput, Misuse

from esb_cli import inputs, rotations
from esb_cli.framework import Group, Session


@click.group(cls=Group, name="bundle")
def bundle_() -> None:
    """All of ESB in one file, for a machine without network."""


@bundle_.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--artefacts",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with Firecracker's pinned files, to carry them too.",
)
@click.pass_obj
def create(session: Session, file: Path, folder: Path | None) -> None:
    """Pack lock, store, images, signatures and what ESB itself runs on into FILE, signed by this machine."""
    rotations.settled(session)
    desk = inputs.desk(session)
    signer = keys.load(settings.folder(session.environ, "ESB_HOME", "~/.esb"))
    lock = desk.read()
    if lock is None:
        raise BadInput("there is no esb.lock", "write it: ./esb lock")
    if stale := resolve.stale(lock, desk.recipes):
        raise BadInput(f"esb.lock does not fit this checkout: {stale[0]}", "run: ./esb lock --update NAME")
    if folder and artefacts.given(folder, desk.root, desk.store).kind != "pinned":
        raise Misuse("a bundle carries no stand-ins", "name a folder with the pinned files")
    images = rotations.family(session)
    if lacking := [name for name in plan.PLAIN if name not in images]:
        raise BadInput(f"{lacking[0]} was not built here", "run: ./esb build")
    inputs.fill(session)
    more = gathering.beside(desk, lock)
    parts = packing.Ingredients(
        store=desk.store,
        home=settings.folder(session.environ, "ESB_HOME", "~/.esb"),
        lock=lock,
        lock_file=session.repository / text.FILE,
        root_ca=Folders.from_environ(session.environ).root,
        images=images,
        wheels=more.wheels,
        engine=gathering.engine(desk),
        host=packing.named(more.steps[gathering.HOST].packages),
    )
    with session.printer.step("write the bundle"):
        made = bundle.create(file, parts, signer)
    _tell_created(session, file, made, signer.verifier.fingerprint)


@bundle_.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", metavar="FINGERPRINT", help="Of the key that must have signed it; needed.")
@click.pass_obj
def load(session: Session, file: Path, trust: str | None) -> None:
    """Verify FILE and take all of it into use: then build and up need no network."""
    home = settings.folder(session.environ, "ESB_HOME", "~/.esb")
    root_ca = Folders.from_environ(session.environ).root
    done = bundle.load(file, session.repository, home, root_ca, trust, session.printer)
    facts = {
        "files": done.files,
        "present": done.present,
        "images": {name: stamp.id for name, stamp in done.contents.images.items()},
        "usable_images": done.images,
        "signed_images": sorted({name.partition("/")[0] for name in done.contents.attestations}),
    }
    lines = [f"{done.files} files stored, {done.present} were there"]
    lines += [f"{name:<30} {stamp.id}" for name, stamp in done.contents.images.items()]
    if not done.images:
        lines.append(f"these images carry another root CA than {root_ca}: ./esb build builds them again")
    session.printer.result(facts, "\n".join(lines))


def _tell_created(session: Session, file: Path, made: bundle.Contents, fingerprint: str) -> None:
    size = file.stat().st_size
    signed = {name.partition("/")[0] for name in made.attestations}
    unsigned = [name for name, one in made.images.items() if one.id.removeprefix("sha256:") not in signed]
    facts = {
        "file": str(file),
        "bytes": size,
        "files": len(made.blobs),
        "fingerprint": fingerprint,
        "images": {name: stamp.id for name, stamp in made.images.items()},
        "unsigned": unsigned,
    }
    lines = [f"{file}: {len(made.blobs)} files, {size / 1e6:.1f} MB"]
    lines += [f"without signed statements: {', '.join(unsigned)} (./esb sign)"] if unsigned else []
    lines.append(f"load with: ./esb bundle load {file.name} --trust {fingerprint}")
    session.printer.result(facts, "\n".join(lines))
