"""``esb ca``: the root CA that images carry and the gateway's certificate."""

from __future__ import annotations

from dataclasses import asdict

import click
from esb_builder import ca as authority

from esb_cli import certificates
from esb_cli.framework import Group, Session


@click.group(cls=Group)
def ca() -> None:
    """The root CA and the gateway's certificate."""


@ca.command()
@click.pass_obj
def init(session: Session) -> None:
    """Make what is missing, renew what is due, check all."""
    _tell(session, certificates.ready(session))


@ca.command()
@click.pass_obj
def show(session: Session) -> None:
    """Check the certificates and say what they are."""
    _tell(session, authority.check(authority.Folders.from_environ(session.environ)))


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
