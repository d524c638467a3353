"""Locked inputs: a build step that finds packages in its mounted folder needs no network."""

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from conformance.conftest import ROOT, Workbench
from esb_builder import run

pytestmark = pytest.mark.engine

SCRIPTS = ROOT / "services/common/image"
OFFLINE = "--network=none"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    """Empty folders for locked files, and the options that show them and the scripts to a container."""
    options = [f"--volume={SCRIPTS / name}:/run/{name}:ro" for name in ("wheels.sh", "debs.sh")]
    for name in ("wheels", "debs"):
        (tmp_path / name).mkdir()
        options.append(f"--volume={tmp_path / name}:/run/{name}:ro")
    return tmp_path, (*options, "--user=0:0", OFFLINE)


def wheel(folder: Path) -> str:
    """A wheel with one module, and the line that locks it."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as made:
        made.writestr("given.py", "VALUE = 7\n")
        made.writestr("given-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: given\nVersion: 1.0\n")
        made.writestr(
            "given-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        made.writestr("given-1.0.dist-info/RECORD", "")
    (folder / "given-1.0-py3-none-any.whl").write_bytes(content.getvalue())
    return f"given==1.0 --hash=sha256:{hashlib.sha256(content.getvalue()).hexdigest()}\n"


def installed(bench: Workbench, place: Path, options: tuple[str, ...], line: str) -> run.Completed:
    (place / "given.lock").write_text(line)
    mount = f"--volume={place / 'given.lock'}:/run/given.lock:ro"
    script = (
        "sh /run/wheels.sh uv pip install --target /tmp/there --require-hashes --requirement /run/given.lock"
        " && PYTHONPATH=/tmp/there python -c 'import given; print(given.VALUE)'"
    )
    return bench.run("esb-gateway:latest", "sh", "-c", script, options=(*options, mount))


def test_locked_wheels_are_installed_without_a_network(
    bench: Workbench, folders: tuple[Path, tuple[str, ...]]
) -> None:
    place, options = folders
    done = installed(bench, place, options, wheel(place / "wheels"))
    assert done.stdout.split() == ["7"], done.stderr


def test_a_wheel_of_another_content_is_refused(
    bench: Workbench, folders: tuple[Path, tuple[str, ...]]
) -> None:
    place, options = folders
    wheel(place / "wheels")
    done = installed(bench, place, options, f"given==1.0 --hash=sha256:{'0' * 64}\n")
    assert done.code != 0
    assert "hash" in done.stderr.lower()


def test_a_wheel_that_is_not_in_the_folder_is_not_asked_for_elsewhere(
    bench: Workbench, folders: tuple[Path, tuple[str, ...]]
) -> None:
    place, options = folders
    line = wheel(place / "wheels").replace("given==1.0", "other==1.0")
    assert "the network was disabled" in installed(bench, place, options, line).stderr


def test_locked_debian_packages_are_installed_without_a_network_and_leave_no_trace(
    bench: Workbench, folders: tuple[Path, tuple[str, ...]]
) -> None:
    place, options = folders
    root = place / "given"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN/control").write_text(
        "Package: given\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example>\nDescription: given\n"
    )
    (root / "usr/share/given").mkdir(parents=True)
    (root / "usr/share/given/file").write_text("7\n")
    environ = {"PATH": "/usr/bin:/bin"}
    run.run(
        ("dpkg-deb", "--build", "--root-owner-group", root, place / "debs/given_1_all.deb"), environ=environ
    )
    traces = "ls /var/log /var/lib/apt/lists /var/cache/apt"
    script = f"sh /run/debs.sh given >/dev/null && cat /usr/share/given/file && {traces}"
    done = bench.run("esb-os-base:latest", "sh", "-c", script, options=options)
    assert done.code == 0, done.stderr
    assert done.stdout.split()[0] == "7"
    assert "dpkg.log" not in done.stdout
    assert "pkgcache.bin" not in done.stdout


def test_without_packages_and_without_a_mirror_the_step_says_what_it_lacks(
    bench: Workbench, folders: tuple[Path, tuple[str, ...]]
) -> None:
    _, options = folders
    done = bench.run("esb-os-base:latest", "sh", "/run/debs.sh", "anything", options=options)
    assert done.code == 1
    assert "pass --secret id=esb_apt_sources" in done.stderr
