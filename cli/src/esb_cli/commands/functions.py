"""``esb invoke`` and ``esb logs``: a function of the running box."""

from __future__ import annotations

import json
import sys

import click
from esb_builder import ca
from esb_common.errors import Broken, Misuse

from esb_cli import credentials
from esb_cli.box.client import Gateway
from esb_cli.box.layout import layout
from esb_cli.framework import Command, Session


def gateway(session: Session) -> Gateway:
    """The gateway of this home's box, whether it runs or not."""
    trust = ca.check(ca.Folders.from_environ(session.environ))
    place = layout(session.environ)
    return Gateway(place.port, trust.client_trust_file, place.region, credentials.load(place))


@click.command(cls=Command)
@click.argument("name")
@click.option("--payload", default="{}", help="The event, as JSON; @FILE reads a file, - standard input.")
@click.option("--tail", is_flag=True, help="Also print the last 4 KB of the function's log.")
@click.pass_obj
def invoke(session: Session, name: str, payload: str, tail: bool) -> int:
    """Call a function and print its answer. Exit code 1 where the function failed."""
    answer = gateway(session).invoke(name, _payload(payload), tail=tail)
    text = answer.payload.decode(errors="replace")
    if tail:
        session.printer.note(answer.log.rstrip())
    facts = {"payload": _decoded(text), "function_error": answer.function_error, "log": answer.log}
    session.printer.result(facts, text)
    return Broken.exit_code if answer.function_error else 0


@click.command(cls=Command)
@click.argument("name")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--tail", default=200, show_default=True, help="How many lines to begin with.")
@click.pass_obj
def logs(session: Session, name: str, follow: bool, tail: int) -> None:
    """Print a function's log. With --json, one JSON object a line."""
    for raw in gateway(session).logs(name, tail=tail, follow=follow):
        line = raw.decode(errors="replace").rstrip("\n")
        sys.stdout.write((json.dumps({"line": line}) if session.printer.as_json else line) + "\n")
        sys.stdout.flush()


def _payload(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if text.startswith("@"):
        try:
            with open(text[1:], "rb") as file:
                return file.read()
        except OSError as error:
            raise Misuse(f"--payload: {text[1:]}: {error.strerror}") from None
    return text.encode()


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
