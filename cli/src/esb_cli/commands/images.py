"""``esb build`` and ``esb images``: make the image family, and list it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click
from esb_builder import base as bases
from esb_builder import build as builder
from esb_builder import engine, fetching, inventory, plan
from esb_common.errors import Misuse

from esb_cli import rotations
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
    rotations.settled(session)
    found = engine.ensure(engine.Place.from_environ(session.environ), session.printer)
    environ = {**session.environ, **({"ESB_ARTEFACTS": str(artefacts)} if artefacts else {})}
    shop = builder.Workshop.from_environ(session.repository, found, environ, session.printer, source)
    built = builder.build(shop, plan.BASES if base else images or (tuple(plan.FAMILY) if artefacts else ()))
    if base:
        fetching.write(shop.root, environ, bases.apt_of_machine(environ))
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
