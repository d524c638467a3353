"""``esb ca``: the root CA that images carry and the gateway's certificate."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from esb_builder import ca as authority
from esb_common.errors import Misuse

from esb_cli import certificates, rotating, rotations
from esb_cli.framework import Group, Session


@click.group(cls=Group)
def ca() -> None:
    """The root CA and the gateway's certificate."""


@ca.command()
@click.pass_obj
def init(session: Session) -> None:
    """Make what is missing, renew what is due, check all."""
    rotations.settled(session)
    _tell(session, certificates.ready(session))


@ca.command()
@click.pass_obj
def show(session: Session) -> None:
    """Check the certificates and say what they are."""
    rotations.settled(session)
    _tell(session, authority.check(authority.Folders.from_environ(session.environ)))


@ca.command()
@click.option(
    "--from",
    "given",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Your company's new rootCA.crt, in place of one that ESB makes.",
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="With --from: the gateway's certificate and its chain, where your company has signed it already.",
)
@click.option("--plan", "only_plan", is_flag=True, help="Only say what would change.")
@click.pass_obj
def rotate(session: Session, given: Path | None, certificate: Path | None, only_plan: bool) -> int:
    """Put a new root CA into every image, the gateway and the box. Exit code 1: an image keeps the old one.

    Interrupted at any moment, everything is as before. The way back: ./esb ca rollback.
    """
    if certificate and not given:
        raise Misuse("--certificate is signed by what --from gives", "add --from FILE")
    rotations.settled(session)
    return rotating.rotate(session, given, certificate, only_plan=only_plan)


@ca.command()
@click.pass_obj
def rollback(session: Session) -> int:
    """Go back to the root CA before, with its certificates and images; a second time: forward again."""
    rotations.settled(session)
    return rotating.rollback(session)


def _tell(session: Session, trust: authority.Trust) -> None:
    facts = {key: value.isoformat() if hasattr(value, "isoformat") else value for key, value in _facts(trust)}
    session.printer.result(facts, "\n".join(_lines(trust)))


def _facts(trust: authority.Trust) -> list[tuple[str, object]]:
    return list(asdict(trust).items())


def _lines(trust: authority.Trust) -> list[str]:
    lines = [
        f"root CA       {trust.subject} ({'your company' if trust.company else 'made by ESB'})",
        f"  file        {trust.root_file}",
        f"  file sha256 {trust.root_file_sha256}",
        f"  fingerprint {trust.fingerprint}",
        f"  ends        {trust.not_after:%Y-%m-%d}",
        f"gateway       {', '.join(trust.certificate_names)}",
        f"  file        {trust.certificate_file}",
        f"  ends        {trust.certificate_not_after:%Y-%m-%d}",
        f"clients trust {trust.client_trust_file}",
    ]
    if trust.request_file:
        lines.append(
            f"to be signed by your company's CA: {trust.request_file}, into {trust.certificate_file}"
        )
    return lines
