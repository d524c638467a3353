"""What a bundle left is used for exactly the lock files that it satisfies."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from esb_builder import offline


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "requirements.lock"
    path.write_text("a==1 --hash=sha256:0\n")
    return path


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"ESB_HOME": str(tmp_path / "home")}


def left(environ: dict[str, str], *locks: Path) -> Path:
    folder = offline.folder(environ)
    (folder / "wheels").mkdir(parents=True)
    sums = (hashlib.sha256(path.read_bytes()).hexdigest() for path in locks)
    (folder / "locks").write_text("".join(f"{one}\n" for one in sums))
    return folder


def test_without_a_bundle_there_is_nothing(requirements: Path, environ: dict[str, str]) -> None:
    assert offline.wheels_for(requirements, environ) is None
    assert offline.packages("host", environ) == []


def test_a_lock_that_the_bundle_satisfies_takes_its_wheels(
    requirements: Path, environ: dict[str, str]
) -> None:
    assert offline.wheels_for(requirements, environ) is None
    folder = left(environ, requirements)
    assert offline.wheels_for(requirements, environ) == folder / "wheels"


def test_a_lock_that_changed_since_goes_to_the_index(requirements: Path, environ: dict[str, str]) -> None:
    left(environ, requirements)
    requirements.write_text("a==2 --hash=sha256:1\n")
    assert offline.wheels_for(requirements, environ) is None


def test_packages_come_by_kind(requirements: Path, environ: dict[str, str]) -> None:
    folder = left(environ, requirements)
    (folder / "engine").mkdir()
    (folder / "engine/b_1_amd64.deb").touch()
    (folder / "engine/a_1_amd64.deb").touch()
    assert [one.name for one in offline.packages("engine", environ)] == ["a_1_amd64.deb", "b_1_amd64.deb"]
    assert offline.packages("host", environ) == []
