"""``esb up``, ``down``, ``status`` and ``env``: the box as a whole."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any, cast

import click
from esb_builder import ca
from esb_common.errors import Broken, Misuse, Unhealthy

from esb_cli import credentials, rotations
from esb_cli.box import functions
from esb_cli.box.client import Gateway
from esb_cli.box.kinds import Kind, kind
from esb_cli.box.layout import Layout, Mode, layout
from esb_cli.commands.functions import gateway
from esb_cli.framework import Command, Session

READY_S = 60.0
EXAMPLES = ("hello", "packed")
KEEPING: tuple[Mode, ...] = ("embedded", "containerd", "firecracker")
"""The modes that keep something while the box is down."""
DOWN = ("the box is down", "./esb up")


@click.command(cls=Command)
@click.option("--embedded", is_flag=True, help="Without any container engine: sandboxed processes.")
@click.option("--no-isolation", is_flag=True, help="Embedded, with workers as plain processes.")
@click.option("--open", "open_", is_flag=True, help="Without authentication, let other machines call.")
@click.pass_obj
def up(session: Session, embedded: bool, no_isolation: bool, open_: bool) -> None:
    """Set up whatever is missing, start the box, and call the function hello."""
    place = layout(session.environ, embedded=embedded, no_isolation=no_isolation, open_=open_)
    _refuse_other_mode(place)
    rotations.settled(session)
    box = kind(place.mode, session, place)
    with session.printer.step("check the certificates"):
        trust = ca.init(ca.Folders.from_environ(session.environ))
    known = credentials.ready(place)
    box.prepare()
    place.remember(place.mode)
    box.start()
    door = Gateway(place.port, trust.client_trust_file, place.region, known)
    with session.printer.step("wait until it is ready"):
        _await_ready(door, box)
    for name in EXAMPLES:
        _deploy(session, door, session.repository / "examples" / name)
    with session.printer.step("call hello"):
        answer = door.invoke("hello", b"{}")
    if answer.function_error:
        raise Broken(f"hello failed: {answer.payload.decode(errors='replace')}", "./esb logs hello")
    facts = {
        "mode": place.mode,
        "url": door.url,
        "trust": str(trust.client_trust_file),
        "company_ca": trust.company,
        "answer": json.loads(answer.payload),
    }
    told = f"{answer.payload.decode()}\n\n{place.mode} box at {door.url}, clients trust {facts['trust']}"
    session.printer.result(facts, told + '\nnext: eval "$(./esb env)"')


@click.command(cls=Command)
@click.option("--volumes", is_flag=True, help="Also remove functions and logs, and stop our engine.")
@click.pass_obj
def down(session: Session, volumes: bool) -> None:
    """Stop the box. Its functions stay, unless --volumes."""
    place = layout(session.environ)
    mode = place.started_mode()
    modes = (mode,) if mode else KEEPING if volumes else ()
    stopped = False
    for one in modes:
        with session.printer.step(f"stop the box ({one})"):
            stopped |= kind(one, session, place).stop(volumes=volumes)
    if volumes and (mode or place.mode) != "embedded":
        _stop_engine(session)
    place.forget()
    session.printer.result({"stopped": stopped}, "" if stopped else "no box was running")


@click.command(cls=Command)
@click.pass_obj
def status(session: Session) -> None:
    """Say what runs: mode, isolation, images, programs, workers."""
    place = layout(session.environ)
    mode = place.started_mode()
    if mode is None:
        raise Unhealthy(*DOWN)
    page = gateway(session).status()
    facts = (
        page | kind(mode, session, place).look() | {"mode": mode, "url": f"https://localhost:{place.port}"}
    )
    session.printer.result(facts, "\n".join(_status_lines(facts)))


@click.command(cls=Command)
@click.pass_obj
def env(session: Session) -> None:
    """Print what an AWS client needs: eval "$(./esb env)"."""
    place = layout(session.environ)
    door = gateway(session)
    facts = {
        "AWS_ENDPOINT_URL": door.url,
        "AWS_REGION": place.region,
        "AWS_DEFAULT_REGION": place.region,
        "AWS_ACCESS_KEY_ID": door.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": door.credentials.secret_access_key,
        "AWS_CA_BUNDLE": str(door.trust),
    }
    lines = [f"export {name}={shlex.quote(value)}" for name, value in facts.items()]
    session.printer.result(facts, "\n".join(lines))


def _stop_engine(session: Session) -> None:
    """Stop our engine, unless somebody else's containers run in it."""
    from esb_builder import engine

    place = engine.Place.from_environ(session.environ)
    state = engine.status(place).state
    if state == "foreign":
        return
    listing = ("ps", "--format={{.Names}}")
    others = engine.ensure(place, session.printer).docker(*listing).stdout.split() if state == "ours" else []
    if others:
        session.printer.note(f"our engine goes on: it also runs {', '.join(others)}")
        return
    engine.stop(place, session.printer)


def _refuse_other_mode(place: Layout) -> None:
    running = place.started_mode()
    if running not in (None, place.mode):
        raise Misuse(f"the box runs in {running} mode", "./esb down first; functions are kept per mode")


def _await_ready(door: Gateway, box: Kind) -> None:
    give_up = time.monotonic() + READY_S
    while (why := door.unhealthy()) is not None:
        if box.gave_up() or time.monotonic() > give_up:
            raise Unhealthy(f"the box did not become ready: {why}", box.last_words())
        time.sleep(0.02)


def _deploy(session: Session, door: Gateway, folder: Path) -> None:
    with session.printer.step(f"deploy {folder.name}"):
        lock = folder / "requirements.lock"
        name = f"example-{folder.name}"
        dependencies = session.environments.target_folder(name, lock) if lock.exists() else None
        functions.deploy(door, functions.read_folder(folder, dependencies))


def _status_lines(facts: dict[str, Any]) -> list[str]:
    capacity = facts["capacity"]
    lines = [
        f"mode       {facts['mode']} at {facts['url']}",
        f"isolation  {_isolation(facts['node'])}",
        f"clients    {_clients(facts['authentication'])}",
        f"functions  {facts['functions']}",
        f"capacity   {capacity['used']} of {capacity['total']} {capacity['unit']}",
    ]
    for name, program in cast("dict[str, dict[str, Any]]", facts["programs"]).items():
        lines.append(f"program    {name} " + " ".join(f"{key} {value}" for key, value in program.items()))
    lines += [f"image      {name} {image}" for name, image in facts["images"].items()]
    lines += [
        f"worker     {worker['id']} {worker['function']} {worker['state']} {worker['place']}"
        for worker in facts["workers"]
    ]
    return lines


def _clients(authentication: str) -> str:
    return "are authenticated" if authentication == "required" else "are NOT AUTHENTICATED"


def _isolation(node: dict[str, Any] | None) -> str:
    if node is None:
        return "unknown: the gateway has no node"
    if node["driver"] == "firecracker":
        return "no function can run: ESB has no firecracker driver yet"
    if node["isolation"] == "none":
        return "NOT ISOLATED: functions are plain processes of this machine"
    limits = "memory and processes limited" if node["limits"] else "NO LIMITS of memory and processes"
    return f"{node['isolation']}, network {node['network']}, {limits}"
