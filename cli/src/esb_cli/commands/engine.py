"""``esb engine``: the container engine that builds and runs the box."""

from __future__ import annotations

import shlex
from dataclasses import asdict

import click
from esb_builder import engine as engines

from esb_cli.framework import Group, Session


@click.group(cls=Group)
def engine() -> None:
    """The container engine: use the one that is there, or bring Debian 13's."""


@engine.command()
@click.pass_obj
def start(session: Session) -> None:
    """Make sure that an engine runs."""
    place = engines.Place.from_environ(session.environ)
    found = engines.ensure(place, session.printer)
    exports = {name: found.environ[name] for name in ("DOCKER_HOST", "DOCKER_CONFIG") if found.ours}
    lines = [f"# {'our own' if found.ours else 'your'} engine at {found.address}"]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in exports.items()]
    lines += [f'export PATH={shlex.quote(str(place.bin))}:"$PATH"'] if found.ours else []
    facts = {"ours": found.ours, "address": found.address, "environment": exports, "programs": str(place.bin)}
    session.printer.result(facts, "\n".join(lines))


@engine.command()
@click.option("--purge", is_flag=True, help="Also remove its images, volumes and programs.")
@click.pass_obj
def stop(session: Session, purge: bool) -> None:
    """Stop our own engine, without a trace."""
    done = engines.stop(engines.Place.from_environ(session.environ), session.printer, purge=purge)
    session.printer.result({"stopped": done}, "" if done else "no engine of ours was there")


@engine.command()
@click.pass_obj
def status(session: Session) -> None:
    """Say which engine there is."""
    seen = engines.status(engines.Place.from_environ(session.environ))
    lines = [f"engine    {seen.state}"]
    lines += [f"address   {seen.address}", f"version   {seen.version}"] if seen.address else []
    lines += [f"process   {seen.pid}"] if seen.pid else []
    lines += [f"folder    {seen.root}"] if seen.packages else []
    lines += [f"package   {name} {version}" for name, version in seen.packages.items()]
    session.printer.result(asdict(seen), "\n".join(lines))
