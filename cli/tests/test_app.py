"""The command line as a process: exit codes, JSON everywhere, no traces."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import click
import pytest
from esb_cli import VERSION
from esb_cli.app import COMMANDS, cli, wants_json

ROOT = Path(__file__).parents[2]
SOURCES = ("cli/src", "builder/src", "services/common/src")


def esb(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with its own environment."""
    return subprocess.run(
        command(*arguments), env=environment(environ), capture_output=True, text=True, check=False
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "esb_cli", *arguments]


def environment(more: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join(str(ROOT / source) for source in SOURCES)
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": path} | more


def test_the_version_is_the_projects() -> None:
    for file in ("pyproject.toml", "cli/pyproject.toml"):
        assert tomllib.loads((ROOT / file).read_text())["project"]["version"] == VERSION
    assert esb("--version").stdout == f"esb {VERSION}\n"


@pytest.mark.parametrize("arguments", [("--json", "--version"), ("--version", "--json")])
def test_json_stands_anywhere(arguments: tuple[str, ...]) -> None:
    assert json.loads(esb(*arguments).stdout) == {"version": VERSION}


def test_json_behind_two_dashes_is_an_argument() -> None:
    assert wants_json(["status", "--json"])
    assert not wants_json(["invoke", "hello", "--", "--json"])
    assert not wants_json([])


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_loads_explains_itself_and_takes_json(name: str) -> None:
    with click.Context(cli) as context:
        found = cli.get_command(context, name)
    assert found is not None
    assert found.help
    assert len(found.get_short_help_str(45).rstrip(".")) > 10
    leaves = found.commands.values() if isinstance(found, click.Group) else (found,)
    for leaf in leaves:
        assert "--json" in [option for parameter in leaf.params for option in parameter.opts], leaf.name


@pytest.mark.parametrize(
    "arguments", [("no-such-command",), ("engine", "stop", "--no-such-option"), ("engine", "fly")]
)
def test_misuse_ends_with_2_and_a_hint(arguments: tuple[str, ...]) -> None:
    done = esb(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("esb: No such ")
    assert "--help" in done.stderr
    told = json.loads(esb(*arguments, "--json").stderr)
    assert (told["error"], told["exit_code"]) == ("Misuse", 2)


def test_an_unknown_setting_is_misuse() -> None:
    done = esb("--version", ESB_PROT="1")
    assert done.returncode == 2
    assert "ESB_PROT" in done.stderr
    assert "did you mean ESB_PORT?" in done.stderr


def test_an_error_of_ours_keeps_its_exit_code(tmp_path: Path) -> None:
    done = esb("ca", "show", "--json", ESB_HOME=str(tmp_path))
    assert done.returncode == 5
    assert json.loads(done.stderr)["hint"] == "run: ./esb ca init"


def test_help_ends_with_0() -> None:
    done = esb("engine", "--help")
    assert done.returncode == 0
    assert "stop" in done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_the_shells_script(shell: str) -> None:
    assert "_ESB_COMPLETE" in esb("completion", shell).stdout


def test_completion_knows_the_commands() -> None:
    done = esb(_ESB_COMPLETE="bash_complete", COMP_WORDS="esb eng", COMP_CWORD="1")
    assert done.stdout == "plain,engine\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_without_a_trace(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """A fake docker client that never answers keeps ``engine status`` waiting; it ends with it."""
    os.mkfifo(tmp_path / "started")
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho $$ > "{tmp_path}/started"\nexec sleep 60\n')
    docker.chmod(0o755)
    environ = environment(
        {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "ESB_HOME": str(tmp_path),
            "ESB_ENGINE_ROOT": str(tmp_path / "none"),
        }
    )
    with subprocess.Popen(
        command("engine", "status"), env=environ, stderr=subprocess.PIPE, text=True
    ) as child:
        waiting = os.pidfd_open(int((tmp_path / "started").read_text()))
        child.send_signal(number)
        _, said = child.communicate(timeout=20)
    assert child.returncode == code
    assert "Traceback" not in said
    assert select.select([waiting], [], [], 10)[0], "the client's process goes with us"
    os.close(waiting)


def test_starting_imports_no_command(tmp_path: Path) -> None:
    code = "import sys; from esb_cli.app import main; main(['--version'], {}); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment({}), capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not {"cryptography", "asyncio", "ssl", "esb_builder.engine", "esb_cli.commands.engine"} & loaded
