"""A clean clone in the hands of somebody who is not root and has no engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e.box import ROOT, UP_S, free_port

pytestmark = [pytest.mark.box, pytest.mark.root, pytest.mark.network]

USER = 12340

# The interpreter may lie in root's home; in a mount namespace of its own it is put on view there.
ENTER = """
set -eu
if [ -n "$CLOSED" ]; then
    mkdir -p "$SPARE"
    mount --bind "$PREFIX" "$SPARE"
    mount -t tmpfs -o mode=755 tmpfs "$CLOSED"
    mkdir -p "$PREFIX"
    mount --bind "$SPARE" "$PREFIX"
fi
cd "$CLONE"
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups \\
    env -u CLOSED -u SPARE -u PREFIX -u USER_ID ./esb "$@"
"""


@dataclass(frozen=True)
class Person:
    """Somebody with a clone and a home below one folder."""

    folder: Path
    port: int

    def esb(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environ = {
            "CLONE": str(self.folder / "clone"),
            "CLOSED": str(closed(Path(sys.base_prefix)) or ""),
            "ESB_ENGINE_ROOT": str(self.folder / "engine"),
            "ESB_HOME": str(self.folder / "home/.esb"),
            "ESB_PORT": str(self.port),
            "HOME": str(self.folder / "home"),
            "PATH": f"{sys.base_prefix}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PREFIX": sys.base_prefix,
            "SPARE": str(self.folder / "spare"),
            "USER_ID": str(USER),
        }
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "UV_"))}
        return subprocess.run(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", ENTER, "enter", *arguments],
            env=kept | environ,
            capture_output=True,
            text=True,
            timeout=UP_S,
            check=False,
        )


def closed(path: Path) -> Path | None:
    """The highest folder above ``path`` that others cannot enter."""
    return next((one for one in reversed(path.parents) if not one.stat().st_mode & 0o001), None)


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:
    folder = Path(f"/tmp/esb-person-{os.getpid()}")
    (folder / "home").mkdir(parents=True)
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder / "clone")], check=True)
    subprocess.run(["chown", "-R", f"{USER}:{USER}", str(folder)], check=True)
    one = Person(folder, free_port())
    yield one
    one.esb("down", "--volumes")
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("options", "isolation", "said"),
    [([], "user-namespaces", "user-namespaces"), (["--no-isolation"], "none", "NOT ISOLATED")],
)
def test_the_embedded_box_works_without_root(
    person: Person, options: list[str], isolation: str, said: str
) -> None:
    up = person.esb("up", "--embedded", *options)
    assert up.returncode == 0, up.stderr
    assert "Hello, world!" in up.stdout
    status = json.loads(person.esb("status", "--json").stdout)
    assert (status["mode"], status["node"]["isolation"]) == ("embedded", isolation)
    assert said in person.esb("status").stdout
    down = person.esb("down")
    assert down.returncode == 0, down.stderr


def test_up_never_falls_back_to_another_mode(person: Person) -> None:
    up = person.esb("up")
    assert up.returncode == 3, up.stderr
    assert "./esb up --embedded" in up.stderr
    assert person.esb("status").returncode == 4


def test_everything_of_it_lies_in_the_clone_and_in_its_home(person: Person) -> None:
    assert {path.name for path in person.folder.iterdir()} <= {"clone", "home", "spare"}
    assert {path.name for path in (person.folder / "home").iterdir()} == {".esb"}
