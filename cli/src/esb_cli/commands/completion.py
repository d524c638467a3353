"""``esb completion``: the shell's own script, to be evaluated or saved."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from esb_cli.framework import Command, Session


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(("bash", "zsh", "fish")))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL, e.g.  eval "$(./esb completion bash)"."""
    session: Session = ctx.obj
    kind = get_completion_class(shell)
    assert kind is not None, shell
    script = kind(ctx.find_root().command, {}, "esb", "_ESB_COMPLETE").source()
    session.printer.result({"shell": shell, "script": script}, script)
