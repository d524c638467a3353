"""The launcher in a fresh copy of the checkout, with real packages and a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NO_WAY_OUT = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")

pytestmark = pytest.mark.network


def copy_to(place: Path) -> Path:
    """What git would check out, with the work in progress."""
    place.mkdir(parents=True)
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and name.startswith(("esb", "cli/", "builder/src", "services/")):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    return place


def environment(home: Path, **more: str) -> dict[str, str]:
    """A home of its own; no rustc on PATH, because pip asks it for its version and it writes there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ESB_")}
    folders = [folder for folder in kept["PATH"].split(os.pathsep) if not Path(folder, "rustc").exists()]
    return kept | {"ESB_HOME": str(home / "esb"), "HOME": str(home), "PATH": os.pathsep.join(folders)} | more


def run(place: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(place / "esb"), *arguments],
        env=environment(place.parent, **environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy on a path with spaces whose first run is done."""
    place = copy_to(tmp_path_factory.mktemp("launcher") / "a checkout with spaces")
    done = run(place, "--version")
    assert done.returncode == 0, done.stderr
    assert "fetch the installer" in done.stderr
    return place


def test_a_later_run_is_silent_and_needs_no_network(made: Path) -> None:
    done = run(made, "--version", **NO_WAY_OUT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("esb ")


def test_a_later_run_costs_about_as_much_as_starting_python(made: Path) -> None:
    def median(*command: str) -> float:
        times = []
        for _ in range(7):
            began = time.monotonic()
            subprocess.run(command, env=environment(made.parent), capture_output=True, check=True)
            times.append(time.monotonic() - began)
        return sorted(times)[3]

    reference = median(str(made / ".esb/cli/bin/python"), "-c", "import json, subprocess, importlib.metadata")
    assert median(str(made / "esb"), "--version") < 6 * reference


def test_nothing_lands_elsewhere_in_the_home(made: Path) -> None:
    assert sorted(entry.name for entry in made.parent.iterdir()) == [made.name, "esb"]


def test_it_works_through_a_link_and_from_another_folder(made: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(made / "esb")
    (tmp_path / "click.py").write_text("raise SystemExit('a stranger was imported')")
    done = subprocess.run(
        ["./link", "--version"],
        cwd=tmp_path,
        env=environment(made.parent),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_what_a_broken_off_run_left_is_taken_over(made: Path) -> None:
    (made / ".esb/cli/stamp").unlink()
    (made / ".esb/cli.new/bin").mkdir(parents=True)
    done = run(made, "--version")
    assert done.returncode == 0, done.stderr
    assert "make the command line's environment" in done.stderr
    assert "fetch the installer" not in done.stderr
    assert not (made / ".esb/cli.new").exists()


def test_environments_of_other_programs_really_install(made: Path) -> None:
    code = (
        "import os, pathlib, sys\n"
        "from esb_builder.voice import Recorded\n"
        "from esb_cli.environments import Environments\n"
        "made = Environments(pathlib.Path(sys.argv[1]), os.environ, Recorded())\n"
        "print(made.environment('gateway')); print(made.runtime())\n"
    )
    path = os.pathsep.join(str(made / source) for source in ("cli/src", "builder/src", "services/common/src"))
    done = subprocess.run(
        [str(made / ".esb/cli/bin/python"), "-c", code, str(made)],
        env=environment(made.parent, PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=True,
    )
    gateway, runtime = done.stdout.split("\n")[:2]
    subprocess.run([f"{gateway}/bin/python", "-c", "import httptools"], check=True)
    code = f"import sys; sys.path.insert(0, {runtime!r}); import awslambdaric, boto3"
    subprocess.run([f"{gateway}/bin/python", "-c", code], check=True)
    assert Path(runtime, "bootstrap.py").exists()


def test_the_doctor_looks_at_this_very_machine(made: Path) -> None:
    done = run(made, "doctor", "--json")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["python"]["verdict"] == "good"
    assert found["package index"]["verdict"] == "good", found["package index"]["fact"]
    assert done.returncode == (1 if any(check["verdict"] == "bad" for check in found.values()) else 0)
    cut_off = json.loads(run(made, "doctor", "--json", **NO_WAY_OUT).stdout)["checks"]
    assert {check["name"]: check["verdict"] for check in cut_off}["package index"] == "warning"


def test_two_first_runs_at_once_and_an_interrupted_one_end_well(tmp_path: Path) -> None:
    place = copy_to(tmp_path / "checkout")
    _interrupt_first_run(place)
    assert not (place / ".esb/uv").exists()
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [threading.Thread(target=lambda: done.append(run(place, "--version"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [one.returncode for one in done] == [0, 0], [one.stderr for one in done]
    assert sum("fetch the installer" in one.stderr for one in done) == 1


def _interrupt_first_run(place: Path) -> None:
    """Ctrl-C, to the whole group as a terminal does, once the first environment is begun."""
    with subprocess.Popen(
        [str(place / "esb"), "--version"],
        env=environment(place.parent),
        start_new_session=True,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stderr is not None
        child.stderr.read(1)
        os.killpg(child.pid, signal.SIGINT)
        assert child.wait(30) != 0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 1", "is older than 3.11"),
        ('case "$2" in *ensurepip*) exit 1 ;; esac', "cannot make virtual environments"),
    ],
)
def test_a_python_that_does_not_do_is_named_with_its_mend(tmp_path: Path, script: str, said: str) -> None:
    place = copy_to(tmp_path / "checkout")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, body in {"python3": script, "id": "echo 1000"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    done = run(place, "--version", PATH=f"{programs}:/usr/bin:/bin")
    assert done.returncode == 3
    assert said in done.stderr
    assert "python3" in done.stderr.splitlines()[-1]


def test_without_a_python_312_the_error_says_what_to_do(made: Path, tmp_path: Path) -> None:
    place = copy_to(tmp_path / "checkout")
    shutil.copytree(made / ".esb/uv", place / ".esb/uv", symlinks=True)
    environ = {"PATH": "/usr/bin:/bin", "PYENV_ROOT": str(tmp_path), "UV_PYTHON_DOWNLOADS": "never"}
    if shutil.which("python3.12", path=environ["PATH"]):
        pytest.skip("the system itself has a python3.12")
    done = run(place, "--version", **environ)
    assert done.returncode == 3
    assert "there is no CPython 3.12 here" in done.stderr
    assert "PATH" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.root
def test_a_checkout_that_is_not_ours_is_refused_clearly(tmp_path: Path) -> None:
    shared = Path(tempfile.mkdtemp(prefix="esb-launcher-"))
    shared.chmod(0o755)
    try:
        place = copy_to(shared / "checkout")
        done = subprocess.run(
            [str(place / "esb"), "--version"],
            env=environment(tmp_path),
            user=65534,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        shutil.rmtree(shared)
    assert done.returncode == 3
    assert f"cannot write to {place}/.esb" in done.stderr


def test_the_launcher_is_posix_shell() -> None:
    assert subprocess.run(["sh", "-n", str(ROOT / "esb")], check=False).returncode == 0
