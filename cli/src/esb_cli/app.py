"""Puts the command line together and runs one command: the only place that maps errors to exit codes.

0  done          2  misuse             4  the box does not answer    130  Ctrl-C
1  we broke      3  not possible here  5  an input is refused        143  SIGTERM
6  not shown (esb verify --conformance)
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

import click
from esb_common import settings
from esb_common.errors import EsbError, Misuse

from esb_cli import VERSION
from esb_cli.framework import Lazy, Session
from esb_cli.output import Printer

REPOSITORY = Path(__file__).resolve().parents[3]

COMMANDS = {
    "up": "esb_cli.commands.box:up",
    "down": "esb_cli.commands.box:down",
    "status": "esb_cli.commands.box:status",
    "env": "esb_cli.commands.box:env",
    "invoke": "esb_cli.commands.functions:invoke",
    "logs": "esb_cli.commands.functions:logs",
    "test": "esb_cli.commands.test:test",
    "lock": "esb_cli.commands.lock:lock",
    "fetch": "esb_cli.commands.fetch:fetch",
    "build": "esb_cli.commands.images:build",
    "images": "esb_cli.commands.images:images",
    "verify": "esb_cli.commands.verify:verify",
    "sbom": "esb_cli.commands.bills:sbom",
    "sign": "esb_cli.commands.signing:sign",
    "key": "esb_cli.commands.signing:key",
    "ca": "esb_cli.commands.ca:ca",
    "bundle": "esb_cli.commands.bundle:bundle_",
    "api-key": "esb_cli.commands.api_key:api_key",
    "doctor": "esb_cli.commands.doctor:doctor",
    "engine": "esb_cli.commands.engine:engine",
    "completion": "esb_cli.commands.completion:completion",
}
"""Command → where its click command is. A new command is one line here and a module in ``commands/``."""

INTERRUPTED = 130
READER_GONE = 141


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        session: Session = ctx.obj
        session.printer.result({"version": VERSION}, f"esb {VERSION}")
        ctx.exit()


cli = Lazy(
    "esb",
    modules=COMMANDS,
    help="Edge Serverless Box: one Linux machine that runs AWS-Lambda-compatible functions.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_version,
            help="Show the version.",
        )
    ],
)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run one command; the exit code. Nothing but a bug of ours ends with a trace."""
    signal.signal(signal.SIGTERM, _terminated)
    os.umask(0o022)  # other users run what we make; what is secret gets its mode by name
    printer = Printer(as_json=wants_json(arguments))
    try:
        return _run(arguments, Session(environ, REPOSITORY, printer))
    except EsbError as error:
        printer.error(error)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        printer.note("interrupted; the same command takes over from here")
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # its reader is gone: nothing is left to flush
        return READER_GONE


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether ``--json`` stands anywhere before ``--``: an error of parsing must know it too."""
    words = list(arguments)
    return "--json" in words[: words.index("--")] if "--" in words else "--json" in words


def _run(arguments: Sequence[str], session: Session) -> int:
    try:
        settings.refuse_unknown(session.environ)
        ended = cli.main(list(arguments), prog_name="esb", standalone_mode=False, obj=session)
    except click.exceptions.NoArgsIsHelpError as shown:
        session.printer.result({"help": shown.format_message()}, shown.format_message())
        return Misuse.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "esb"
        raise Misuse(error.format_message(), f"see: ./{path} --help") from None
    except click.ClickException as error:
        raise Misuse(error.format_message()) from None
    return ended if isinstance(ended, int) else 0


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)
