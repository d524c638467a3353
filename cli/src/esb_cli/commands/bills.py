"""``esb sbom``: bills of materials of images, from their archives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from esb_builder import locked
from esb_builder import sbom as bills
from esb_builder.ca import files

from esb_cli import subjects
from esb_cli.framework import Command, Session


@click.command(cls=Command)
@click.argument("what", nargs=-1, metavar="[IMAGE|ARCHIVE]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(tuple(bills.FORMATS)),
    default="cyclonedx",
    show_default=True,
    help="CycloneDX 1.6 or SPDX 2.3, as JSON.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a file per image (default: print; several images are one object by name).",
)
@click.pass_obj
def sbom(session: Session, what: tuple[str, ...], form: bills.Format, output: Path | None) -> None:
    """Say what images of the engine (default: all) or saved ARCHIVES are made of; runs nothing."""
    writer = bills.FORMATS[form]
    pins = bills.Pins.of(locked.read(session.repository))
    with subjects.opened(session, what) as (family, names):
        found = {name: bills.inventory(family[name], pins) for name in names}
    documents = {name: writer.document(one) for name, one in found.items()}
    if output is None:
        only = documents[names[0]] if len(names) == 1 else documents
        session.printer.result(only, _text(only))
        return
    paths = {name: output / f"{name.replace(':', '-')}.{writer.ending}" for name in names}
    files.folder(output, 0o755)
    for name, path in paths.items():
        files.write(path, _text(documents[name]).encode() + b"\n", 0o644)
    facts = {name: {"file": path, "components": len(found[name].components)} for name, path in paths.items()}
    lines = (
        f"{name:<30} {len(found[name].components):>4} components  {path}" for name, path in paths.items()
    )
    session.printer.result({"images": facts}, "\n".join(lines))


def _text(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)
