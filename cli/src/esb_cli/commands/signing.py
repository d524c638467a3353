"""``esb key`` and ``esb sign``: this machine's signing key, and what it attests of images."""

from __future__ import annotations

from pathlib import Path

import click
from esb_builder import artefacts, locked, plan, signing
from esb_builder.artefacts import Artefacts
from esb_builder.cache import Layouts
from esb_builder.lock import recipes
from esb_builder.locked import Locked
from esb_builder.signing import keys
from esb_builder.store import Store
from esb_common import settings

from esb_cli import subjects
from esb_cli.framework import Command, Group, Session


@click.group(cls=Group)
def key() -> None:
    """The key that signs images."""


@key.command()
@click.pass_obj
def init(session: Session) -> None:
    """Make the key where there is none; show its fingerprint."""
    home = _home(session)
    verifier, made = keys.init(home)
    _tell(session, home, verifier, "made" if made else "was there")


@key.command()
@click.pass_obj
def show(session: Session) -> None:
    """Show the fingerprint that others need to verify."""
    home = _home(session)
    _tell(session, home, keys.load(home).verifier, "")


@click.command(cls=Command)
@click.argument("what", nargs=-1, metavar="[IMAGE|ARCHIVE]...")
@click.option(
    "--artefacts",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with Firecracker's files or stand-ins that the images were built from.",
)
@click.pass_obj
def sign(session: Session, what: tuple[str, ...], folder: Path | None) -> None:
    """Attest how images of the engine (default: all) were built and what they hold.

    What is written lies in ${ESB_HOME}/attestations, by image id.
    """
    home = _home(session)
    signer = keys.load(home)
    inputs = _locked(session, home)
    with subjects.opened(session, what) as (family, names):
        takes = any(artefacts.CONTEXT in plan.FAMILY[name].contexts for name in names)
        given = _artefacts(session, home, folder) if takes else None
        written = {
            name: signing.write(home, signer, signing.statements(family[name], home, inputs, given))
            for name in names
        }
        ids = {name: family[name].image.id for name in names}
    facts = {name: {"id": ids[name], "files": [str(one) for one in paths]} for name, paths in written.items()}
    lines = [f"{name:<30} {ids[name]} signed ({len(paths)} statements)" for name, paths in written.items()]
    lines.append(f"verify with: ./esb verify --signatures --trust {signer.verifier.fingerprint}")
    session.printer.result({"images": facts, "fingerprint": signer.verifier.fingerprint}, "\n".join(lines))


def _home(session: Session) -> Path:
    return settings.folder(session.environ, "ESB_HOME", "~/.esb")


def _tell(session: Session, home: Path, verifier: keys.Verifier, how: str) -> None:
    facts = {"file": str(keys.path(home)), "fingerprint": verifier.fingerprint, "made": how == "made"}
    lines = [f"signing key   {keys.path(home)}" + (f" ({how})" if how else "")]
    session.printer.result(facts, "\n".join([*lines, f"  fingerprint {verifier.fingerprint}"]))


def _locked(session: Session, home: Path) -> Locked | None:
    """The lock's inputs by context; nothing of them need be in the store."""
    lock = locked.read(session.repository)
    if lock is None:
        return None
    layouts, views = Layouts(home / "cache/layouts"), home / "cache/views"
    asked = recipes.read(session.repository)
    return Locked(lock, asked, Store(home / "store"), layouts, views, session.environ, session.printer)


def _artefacts(session: Session, home: Path, folder: Path | None) -> Artefacts:
    named = folder or settings.text(session.environ, "ESB_ARTEFACTS", "")
    if named:
        return artefacts.given(Path(named), session.repository, Store(home / "store"))
    return Artefacts("pinned", artefacts.pinned(session.repository))
