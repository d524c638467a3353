"""``esb test``: set up what the tests need, then run them."""

from __future__ import annotations

import signal
from dataclasses import replace

import click
from esb_builder import ca, engine, run
from esb_common.errors import NotPossibleHere

from esb_cli import inputs
from esb_cli.framework import Command, Session

# What the tests' own environment must not inherit: a person's box and a person's AWS account.
_NOT_INHERITED = ("ESB_", "AWS_")


@click.command(
    cls=Command, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--unit", is_flag=True, help="Only what needs neither an engine nor a running box.")
@click.option("--without-engine", is_flag=True, help="Go on, and skip tests, where no engine can be had.")
@click.option("--soak", is_flag=True, help="Only the long forms, which CI does not run.")
@click.pass_obj
def test(session: Session, arguments: tuple[str, ...], unit: bool, without_engine: bool, soak: bool) -> int:
    """Run the tests; ARGUMENTS go to pytest."""
    environ = _environ(session)
    python = session.environments.environment("test") / "bin/python"
    for name in ("gateway", "node"):
        session.environments.environment(name)
    session.environments.runtime()
    if not unit:
        _prepare(session, environ, without_engine)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests of Ctrl-C, also where we run unattended
    chosen = ("-m", "not engine and not box and not soak") if unit else ("-m", "soak") if soak else ()
    return run.show((python, "-m", "pytest", *chosen, *arguments), environ=environ, cwd=session.repository)


def _environ(session: Session) -> dict[str, str]:
    """The tests' environment: a home of their own inside the checkout, kept between runs."""
    kept = {name: value for name, value in session.environ.items() if not name.startswith(_NOT_INHERITED)}
    engine_root = {name: session.environ[name] for name in ("ESB_ENGINE_ROOT",) if name in session.environ}
    return kept | engine_root | {"ESB_HOME": str(session.repository / ".esb/home")}


def _prepare(session: Session, environ: dict[str, str], without_engine: bool) -> None:
    """An engine and the images of this checkout. A missing engine is the person's choice, or an error."""
    from esb_builder.build import Workshop, build

    try:
        found = engine.ensure(engine.Place.from_environ(environ), session.printer)
    except NotPossibleHere as error:
        if not without_engine:
            raise
        session.printer.note(f"tests that need a container engine will be skipped: {error.fact}")
        return
    ca.init(ca.Folders.from_environ(environ))
    inputs.fill(replace(session, environ=environ))
    build(Workshop.from_environ(session.repository, found, environ, session.printer))
