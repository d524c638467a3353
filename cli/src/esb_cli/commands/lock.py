"""``esb lock``: write down every input of every image, say what moved, move on purpose."""

from __future__ import annotations

from typing import Any

import click
from esb_builder.lock import resolve, text
from esb_builder.lock.model import SOURCES, Lock, Source
from esb_builder.lock.moves import Move, Update, differences
from esb_common.errors import BadInput, Misuse

from esb_cli import inputs
from esb_cli.framework import Command, Session

STALE = BadInput.exit_code


@click.command(cls=Command)
@click.option(
    "--source",
    type=click.Choice(SOURCES),
    help="Where the base comes from (default: as locked, else debian).",
)
@click.option("--check", is_flag=True, help="Only say what moved; exit code 5 where anything did.")
@click.option("--offline", is_flag=True, help="With --check: look at this checkout alone.")
@click.option("--update", is_flag=True, help="Move the pins of NAME…, or all of them.")
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.pass_obj
def lock(
    session: Session, source: Source | None, check: bool, offline: bool, update: bool, names: tuple[str, ...]
) -> int:
    """Resolve every input of the images into esb.lock.

    A lock that lacks nothing stays as it is; --update is the only way to move a pin. NAME is a package,
    a step (os-base), a wheel set (gateway), or: debian, wheels, firecracker, images, python.
    """
    if names and not update:
        raise Misuse("a NAME is what --update moves", f"./esb lock --update {' '.join(names)}")
    if (check and update) or (offline and not check):
        raise Misuse("--check and --update exclude each other; --offline goes with --check")
    desk = inputs.desk(session)
    old = desk.read()
    if check:
        return _check(session, desk, old, offline)
    if old is not None and not update and not resolve.gaps(old, desk.recipes):
        return _told(session, desk, old, [], wrote=False)
    wanted = source or (old.source if old else "debian")
    new = resolve.complete(desk, wanted, old, Update(frozenset(names), everything=update and not names))
    wrote = desk.write(new)
    return _told(session, desk, new, differences(old, new) if old else [], wrote=wrote)


def _check(session: Session, desk: resolve.Desk, old: Lock | None, offline: bool) -> int:
    if old is None:
        raise BadInput(f"there is no {text.FILE}", "write it: ./esb lock")
    stale = resolve.stale(old, desk.recipes)
    moved = [] if offline else resolve.checked(desk, old)
    lines = [*stale, *map(str, moved)] or [f"{text.FILE} is current"]
    session.printer.result({"stale": stale, "moved": [_facts(move) for move in moved]}, "\n".join(lines))
    return STALE if stale or moved else 0


def _told(session: Session, desk: resolve.Desk, lock: Lock, moved: list[Move], *, wrote: bool) -> int:
    stale = resolve.stale(lock, desk.recipes)
    number = len({blob for _, blob in lock.blobs()})
    size = sum(blob.size for blob in {blob for _, blob in lock.blobs()})
    head = f"{text.FILE}: {'written' if wrote else 'unchanged'}, {number} files, {size / 1e6:.1f} MB"
    facts = {
        "wrote": wrote,
        "files": number,
        "bytes": size,
        "moved": [_facts(move) for move in moved],
        "stale": stale,
    }
    session.printer.result(facts, "\n".join([head, *map(str, moved), *stale]))
    if stale:
        session.printer.note("to move what changed: ./esb lock --update NAME")
    return STALE if stale else 0


def _facts(move: Move) -> dict[str, Any]:
    return {"where": [word for word in move.where if word], "text": str(move)}
