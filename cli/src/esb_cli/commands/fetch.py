"""``esb fetch``: fill the store with what the lock names."""

from __future__ import annotations

from dataclasses import asdict

import click
from esb_builder import fetch as fetching
from esb_builder.fetch.needs import Finder
from esb_builder.lock import resolve
from esb_common.errors import BadInput

from esb_cli import inputs
from esb_cli.framework import Command, Session


@click.command(cls=Command)
@click.option(
    "--jobs",
    type=click.IntRange(1, 32),
    default=fetching.AT_ONCE,
    show_default=True,
    help="Downloads at once.",
)
@click.pass_obj
def fetch(session: Session, jobs: int) -> None:
    """Bring every file that esb.lock names and the store lacks, verified by SHA-256."""
    desk = inputs.desk(session)
    lock = desk.read()
    if lock is None:
        raise BadInput("there is no esb.lock", "write it: ./esb lock")
    if stale := resolve.stale(lock, desk.recipes):
        raise BadInput(f"esb.lock does not fit this checkout: {stale[0]}", "run: ./esb lock --update NAME")
    done = fetching.fetch(Finder(lock, desk.root, desk.machine, desk.store), session.printer, jobs)
    lines = [
        f"{done.files} files, {done.bytes / 1e6:.1f} MB in {done.seconds:.1f} s; {done.present} were there"
    ]
    lines += [
        f"not fetched: {name}: the mirror {mirror} has no address here (ESB_MIRRORS={mirror}=ADDRESS)"
        for name, mirror in done.unaddressed
    ]
    if done.moved_on:
        lines.append(f"the archive has moved on, so not kept as proof: {', '.join(done.moved_on)}")
    session.printer.result(asdict(done), "\n".join(lines))
