"""``esb verify``: judge images, as a table, as JSON, as SARIF, or row by row of the conformance table."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click
from esb_builder import signing
from esb_builder import verify as judges
from esb_builder.ca import files
from esb_common import settings
from esb_common.errors import Misuse

from esb_cli import subjects
from esb_cli.framework import Command, Session


@click.command(cls=Command)
@click.argument("what", nargs=-1, metavar="[IMAGE|ARCHIVE]...")
@click.option("--signatures", is_flag=True, help="Also hold what was signed (./esb sign) against the images.")
@click.option("--trust", metavar="FINGERPRINT", help="Of the key that must have signed; needed for that.")
@click.option(
    "--conformance", is_flag=True, help="All rows S1–S23, with what tests have recorded of these images."
)
@click.option(
    "--sarif", type=click.Path(dir_okay=False, path_type=Path), help="Also write findings as SARIF 2.1.0."
)
@click.pass_obj
def verify(
    session: Session,
    what: tuple[str, ...],
    signatures: bool,
    trust: str | None,
    conformance: bool,
    sarif: Path | None,
) -> int:
    """Judge images of the engine (default: all) or saved ARCHIVES; runs nothing.

    The images of the Firecracker mode are among all where the engine has them. Exit code 1: a row fails;
    with --conformance 5: a row fails, 6: none fails and some are not shown for these images.
    """
    if trust and not signatures:
        raise Misuse("--trust is about signatures", "add --signatures")
    if signatures:
        signing.trusted(trust)
    sources = judges.Sources.read(session.repository)
    with subjects.opened(session, what) as (family, names):
        verdicts = judges.judge(family, names, datetime.now(UTC), sources)
        ids = {name: family[name].image.id for name in names}
    home = settings.folder(session.environ, "ESB_HOME", "~/.esb")
    if signatures:
        verdicts += signing.judge(home, ids, trust)
    if sarif:
        text = json.dumps(judges.sarif.document(verdicts, ids), indent=1) + "\n"
        files.write(sarif.absolute(), text.encode(), 0o644)
    if conformance:
        told = judges.conformance.document(verdicts, ids, judges.conformance.read(home))
        session.printer.result(told, judges.conformance.text(told, verdicts))
        return judges.conformance.exit_code(told)
    session.printer.result(judges.document(verdicts, ids), judges.table(verdicts, ids))
    return 1 if any(verdict.status == "fail" for verdict in verdicts) else 0
