"""``esb api-key``: API keys for plain HTTP clients, which may invoke functions and nothing else."""

from __future__ import annotations

import click

from esb_cli import credentials
from esb_cli.box.layout import layout
from esb_cli.framework import Group, Session


@click.group(cls=Group)
def api_key() -> None:
    """API keys: a header X-Api-Key for clients that cannot sign."""


@api_key.command()
@click.argument("name")
@click.option("--rate", default=0, show_default=True, help="Calls a second in the long run; 0 is any number.")
@click.option("--burst", default=0, help="Calls that may come at once.  [default: as --rate]")
@click.pass_obj
def add(session: Session, name: str, rate: int, burst: int) -> None:
    """Make a key and print it, this once."""
    text = credentials.add_key(layout(session.environ), name, rate, burst or rate)
    session.printer.result({"name": name, "key": text, "calls_per_s": rate, "burst": burst or rate}, text)


@api_key.command("list")
@click.pass_obj
def list_keys(session: Session) -> None:
    """Print the names of all keys and their limits."""
    known = credentials.load(layout(session.environ)).api_keys
    facts = [{"name": one.name, "calls_per_s": one.calls_per_s, "burst": one.burst} for one in known]
    lines = [f"{one.name}  {_limit(one.calls_per_s, one.burst)}" for one in known]
    session.printer.result({"keys": facts}, "\n".join(lines))


@api_key.command()
@click.argument("name")
@click.pass_obj
def remove(session: Session, name: str) -> None:
    """Let a key in no more."""
    credentials.remove_key(layout(session.environ), name)
    session.printer.result({"removed": name}, "")


def _limit(calls_per_s: int, burst: int) -> str:
    return f"{calls_per_s} calls a second, {burst} at once" if calls_per_s else "no limit"
