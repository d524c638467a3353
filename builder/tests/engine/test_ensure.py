"""Where our own engine may be brought, and what is said where it may not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from esb_builder import engine
from esb_builder.engine import cleaning, daemon, processes, tools
from esb_builder.voice import Recorded
from esb_common.errors import Misuse, NotPossibleHere

BOOKWORM = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'


@pytest.mark.parametrize(
    ("os_release", "uid", "reason"),
    [
        (BOOKWORM, 0, None),
        (BOOKWORM.replace('"12"', '"13"'), 0, None),
        ("ID=debian\nPRETTY_NAME=sid\n", 0, None),
        (BOOKWORM, 1000, "this is not root"),
        (BOOKWORM.replace('"12"', '"11"'), 0, "this is Debian GNU/Linux 12 (bookworm)"),
        ('ID=ubuntu\nVERSION_ID="24.04"\nPRETTY_NAME="Ubuntu 24.04"\n', 0, "this is Ubuntu 24.04"),
    ],
)
def test_our_engine_needs_debian_12_and_root(os_release: str, uid: int, reason: str | None) -> None:
    assert engine.not_here(os_release, uid) == reason


def test_a_folder_too_deep_for_a_socket_is_refused(tmp_path: Path) -> None:
    deep = engine.Place(tmp_path / ("x" * 100), tmp_path, {})
    with pytest.raises(Misuse, match="too long"):
        daemon.start(deep, Recorded())
    assert not deep.root.exists()


def test_stopping_what_never_was_is_no_work(tmp_path: Path) -> None:
    assert not engine.stop(engine.Place(tmp_path / "none", tmp_path, {}), Recorded())


@pytest.mark.root
@pytest.mark.skipif(
    engine.not_here(Path("/etc/os-release").read_text(), os.geteuid()) is not None,
    reason="ours is not brought here",
)
def test_ours_is_not_started_beside_an_engine_that_no_client_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("esb_builder.engine.reach.USUAL_SOCKET", tmp_path / "none.sock")
    (tmp_path / "dockerd").write_bytes(Path("/bin/sleep").read_bytes())
    (tmp_path / "dockerd").chmod(0o755)
    with subprocess.Popen([tmp_path / "dockerd", "60"]) as other:
        assert other.pid in [who.pid for who in processes.sharing_network("dockerd")]
        with pytest.raises(NotPossibleHere, match="another Docker engine runs here") as caught:
            engine.ensure(engine.Place(tmp_path / "root", tmp_path, {"PATH": str(tmp_path)}), Recorded())
        other.kill()
    assert "--embedded" in caught.value.hint
    assert not (tmp_path / "root").exists()


def test_a_purge_removes_what_we_made_and_nothing_else(tmp_path: Path) -> None:
    place = engine.Place(tmp_path / "root", tmp_path, {"PATH": "/usr/bin:/bin"})
    for folder in ("prefix/usr", ".apt/lists", "data/volumes", "mine"):
        (place.root / folder).mkdir(parents=True)
    assert engine.stop(place, Recorded(), purge=True)
    assert [entry.name for entry in place.root.iterdir()] == ["mine"]
    assert not engine.stop(place, Recorded(), purge=True)
    (place.root / "prefix").mkdir()
    (place.root / "mine").rmdir()
    engine.stop(place, Recorded(), purge=True)
    assert not place.root.exists()


def test_only_our_own_notes_of_runc_are_removed(tmp_path: Path) -> None:
    for name, cgroup in {"a": "esb-engine-1", "b": "docker"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text(
            f'{{"cgroup_paths": {{"pids": "/c/pids/{cgroup}/buildkit/{name}"}}}}'
        )
    cleaning.remove_states(tmp_path, "esb-engine-1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["b"]


def test_two_roots_have_two_cgroups(tmp_path: Path) -> None:
    one, two = (engine.Place(tmp_path / name, tmp_path, {}) for name in "ab")
    assert one.cgroup != two.cgroup


def test_missing_host_tools_are_named(tmp_path: Path) -> None:
    assert tools.missing(("ip", "iptables-save"), path=str(tmp_path)) == ["iproute2", "iptables"]
    assert tools.missing((), path=str(tmp_path)) == []


def test_status_of_a_machine_without_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esb_builder.engine.reach.USUAL_SOCKET", tmp_path / "none.sock")
    seen = engine.status(engine.Place(tmp_path / "root", tmp_path, {"PATH": str(tmp_path)}))
    assert (seen.state, seen.address, seen.pid, seen.packages) == ("none", None, None, {})


def test_beside_an_engine_without_client_ours_is_not_started(tmp_path: Path) -> None:
    place = engine.Place(tmp_path / "root", tmp_path, {"PATH": str(tmp_path), "DOCKER_HOST": "tcp://far"})
    with pytest.raises(NotPossibleHere):
        engine.ensure(place, Recorded())
    assert not place.root.exists()
