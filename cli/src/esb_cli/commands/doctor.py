"""``esb doctor``: what this machine has, what is in the way, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

import click

from esb_cli.doctor import facts, judge
from esb_cli.framework import Command, Session

_MARKS = {"good": "ok  ", "warning": "warn", "bad": "BAD "}


@click.command(cls=Command)
@click.pass_obj
def doctor(session: Session) -> None:
    """Look at this machine and say how to mend it."""
    with session.printer.step("look at this machine"):
        seen = facts.gather(session.environ, session.environments)
    found = judge.all_checks(seen)
    lines = [line for check in found for line in _lines(check)]
    session.printer.result({"checks": [asdict(check) for check in found]}, "\n".join(lines))
    if any(check.verdict == "bad" for check in found):
        click.get_current_context().exit(1)


def _lines(check: judge.Check) -> list[str]:
    first = f"{_MARKS[check.verdict]}  {check.name:<14} {check.fact}"
    return [first, f"      {'':<14} → {check.mend}"] if check.mend else [first]
