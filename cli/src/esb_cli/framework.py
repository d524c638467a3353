"""What every command shares: one session, ``--json`` before or after the name, late imports.

A command is a module in ``commands/`` with a click command or group, named in
:data:`esb_cli.app.COMMANDS`. Its module is imported only when it is called (or for ``--help``),
so starting costs the same however many there are.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, override

import click

from esb_cli.environments import Environments
from esb_cli.output import Printer


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the command line; a command gets it by ``@click.pass_obj``."""

    environ: Mapping[str, str] = field(repr=False)
    repository: Path
    printer: Printer

    @property
    def environments(self) -> Environments:
        """The Python environments of the other programs."""
        return Environments(self.repository, self.environ, self.printer)


def json_option() -> click.Option:
    """``--json`` for one command. Its value was read from the whole line before, see ``app.main``."""
    return click.Option(
        ["--json", "as_json"], is_flag=True, expose_value=False, help="Speak JSON instead of text."
    )


class Command(click.Command):
    """A command that takes ``--json``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(json_option())


class Group(click.Group):
    """A group whose commands take ``--json``."""

    command_class = Command

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.params.append(json_option())


class Lazy(Group):
    """A group that imports a command's module when the command is asked for.

    ``modules`` maps a command's name to ``module:attribute``.
    """

    def __init__(self, *args: Any, modules: Mapping[str, str], **options: Any) -> None:
        super().__init__(*args, **options)
        self._modules = modules

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        module, _, attribute = self._modules[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command
