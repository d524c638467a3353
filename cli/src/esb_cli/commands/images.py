"""``esb build`` and ``esb verify``: make the image family, and judge what was made."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from esb_builder import build as builder
from esb_builder import engine, plan
from esb_builder import verify as judges
from esb_builder.archive import Archive
from esb_common.errors import Misuse

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
@click.pass_obj
def build(session: Session, images: tuple[str, ...], source: builder.Base, base: bool) -> None:
    """Have IMAGES (default: all) in the engine; what is there and unchanged stays."""
    if base and images:
        raise Misuse("--base and names of images exclude one another")
    found = engine.ensure(engine.Place.from_environ(session.environ), session.printer)
    shop = builder.Workshop.from_environ(session.repository, found, session.environ, session.printer, source)
    built = builder.build(shop, plan.BASES if base else images)
    facts = {one.name: {"id": one.id, "built": bool(one.why), "why": one.why} for one in built}
    lines = [f"{one.name:<20} {one.id} {'built' if one.why else 'unchanged'}" for one in built]
    session.printer.result({"images": facts}, "\n".join(lines))


@click.command(cls=Command)
@click.argument("what", nargs=-1, metavar="[IMAGE|ARCHIVE]...")
@click.pass_obj
def verify(session: Session, what: tuple[str, ...]) -> int:
    """Judge images of the engine (default: all) or saved ARCHIVES; runs nothing. Exit code 1: a row fails."""
    with _opened(session, what) as (family, names):
        verdicts = judges.judge(family, names, datetime.now(UTC))
        ids = {name: family[name].image.id for name in names}
    session.printer.result(judges.document(verdicts, ids), judges.table(verdicts, ids))
    return 1 if any(verdict.status == "fail" for verdict in verdicts) else 0


@contextmanager
def _opened(session: Session, what: Sequence[str]) -> Iterator[tuple[dict[str, judges.Subject], list[str]]]:
    """The images to look at, and the names of those to judge."""
    files = [Path(one) for one in what if Path(one).is_file()]
    if files and len(files) != len(what):
        raise Misuse("images of the engine and archives cannot be judged in one run")
    with ExitStack() as stack:
        if files:
            family = judges.subjects(stack.enter_context(Archive(path)) for path in files)
            yield family, list(family)
            return
        wanted = plan.chosen(what)
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="esb-verify-")), "images.tar")
        found = engine.ensure(engine.Place.from_environ(session.environ), session.printer)
        with session.printer.step("save the images"):
            builder.save(found, wanted, path)
        family = judges.subjects([stack.enter_context(Archive(path))])
        named = {plan.full_name(one) for one in what or plan.FAMILY}
        yield family, [image.name for image in wanted if image.name in named]
