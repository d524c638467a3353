"""``esb build``, ``esb images`` and ``esb verify``: make the image family, list it, judge it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from esb_builder import build as builder
from esb_builder import engine, inventory, plan, signing
from esb_builder import verify as judges
from esb_common import settings
from esb_common.errors import Misuse

from esb_cli import subjects
from esb_cli.framework import Command, Session


@click.command(cls=Command)
@click.argument("images", nargs=-1)
@click.option(
    "--source",
    type=click.Choice(("debian", "registry")),
    default="debian",
    show_default=True,
    help="Where the base comes from: Debian's signed packages, or public images by digest.",
)
@click.option("--base", is_flag=True, help="Only the base images, for docker build and docker compose build.")
@click.option(
    "--artefacts",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with Firecracker's files, or with stand-ins and their list stand-ins.sha256.",
)
@click.pass_obj
def build(
    session: Session, images: tuple[str, ...], source: builder.Base, base: bool, artefacts: Path | None
) -> None:
    """Have IMAGES in the engine; what is there and unchanged stays.

    Default: all that a box needs; with --artefacts also the images of the Firecracker mode.
    """
    if base and images:
        raise Misuse("--base and names of images exclude one another")
    found = engine.ensure(engine.Place.from_environ(session.environ), session.printer)
    environ = {**session.environ, **({"ESB_ARTEFACTS": str(artefacts)} if artefacts else {})}
    shop = builder.Workshop.from_environ(session.repository, found, environ, session.printer, source)
    built = builder.build(shop, plan.BASES if base else images or (tuple(plan.FAMILY) if artefacts else ()))
    facts = {one.name: {"id": one.id, "built": bool(one.why), "why": one.why} for one in built}
    lines = [f"{one.name:<30} {one.id} {'built' if one.why else 'unchanged'}" for one in built]
    session.printer.result({"images": facts}, "\n".join(lines))


@click.command(cls=Command)
@click.pass_obj
def images(session: Session) -> None:
    """List the images in the engine: id, parent, unpacked size, packages, root CA, canonical or not."""
    found = engine.ensure(engine.Place.from_environ(session.environ), session.printer)
    shop = builder.Workshop.from_environ(session.repository, found, session.environ, session.printer)
    listed = inventory.listed(found, shop.home, shop.shelf, session.printer)
    session.printer.result(inventory.document(listed), inventory.table(listed, datetime.now(UTC)))


@click.command(cls=Command)
@click.argument("what", nargs=-1, metavar="[IMAGE|ARCHIVE]...")
@click.option("--signatures", is_flag=True, help="Also hold what was signed (./esb sign) against the images.")
@click.option("--trust", metavar="FINGERPRINT", help="Of the key that must have signed; needed for that.")
@click.pass_obj
def verify(session: Session, what: tuple[str, ...], signatures: bool, trust: str | None) -> int:
    """Judge images of the engine (default: all) or saved ARCHIVES; runs nothing. Exit code 1: a row fails.

    The images of the Firecracker mode are among all where the engine has them.
    """
    if trust and not signatures:
        raise Misuse("--trust is about signatures", "add --signatures")
    if signatures:
        signing.trusted(trust)
    with subjects.opened(session, what) as (family, names):
        verdicts = judges.judge(family, names, datetime.now(UTC))
        ids = {name: family[name].image.id for name in names}
    if signatures:
        home = settings.folder(session.environ, "ESB_HOME", "~/.esb")
        verdicts += signing.judge(home, ids, trust)
    session.printer.result(judges.document(verdicts, ids), judges.table(verdicts, ids))
    return 1 if any(verdict.status == "fail" for verdict in verdicts) else 0
