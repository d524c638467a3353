"""An engine is asked by building; the answer is kept."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest
from esb_builder import run
from esb_builder.engine import features
from esb_builder.engine.client import Engine
from esb_common.errors import NotPossibleHere

_FAKE = """\
#!/bin/sh
echo "$*" >> "{log}"
case "$1" in
info) echo '{{"ID": "one", "ServerVersion": "20.10", "Architecture": "'$(uname -m)'"}}' ;;
buildx) {build} ;;
save) tar -cf "$3" -C "{saved}" $(ls "{saved}") ;;
esac
"""


def engine(tmp_path: Path, build: str, saved: str = "oci-layout") -> tuple[Engine, Path]:
    """A fake docker on PATH; the log holds the calls it got."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / saved).touch()
    log = tmp_path / "log"
    program = tmp_path / "bin/docker"
    program.write_text(_FAKE.format(log=log, build=build, saved=tmp_path / "saved"))
    program.chmod(0o755)
    environ = run.clean(os.environ, PATH=f"{tmp_path}/bin:/usr/bin:/bin")
    return Engine(environ, ours=False, prefix=None), log


def test_the_tiny_program_runs_and_ends_with_0(tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.write_bytes(features.tiny_program(platform.machine()))
    probe.chmod(0o755)
    assert run.run((probe,), environ={}).code == 0
    assert probe.stat().st_size < 150


def test_an_engine_that_builds_is_asked_once(tmp_path: Path) -> None:
    found, log = engine(tmp_path, "true")
    features.check(found, tmp_path / "cache")
    features.check(found, tmp_path / "cache")
    calls = [line.split()[0] for line in log.read_text().splitlines()]
    assert calls.count("buildx") == 1
    assert calls[-1] == "info"
    kept = next((tmp_path / "cache").iterdir())
    assert json.loads(kept.read_text()) == {"id": "one", "version": "20.10"}


def test_an_old_buildkit_is_refused_with_every_way_on(tmp_path: Path) -> None:
    found, _ = engine(
        tmp_path, 'echo "unsupported frontend capability moby.buildkit.frontend.contexts" >&2; exit 1'
    )
    with pytest.raises(NotPossibleHere) as caught:
        features.check(found, tmp_path / "cache")
    assert "moby.buildkit.frontend.contexts" in caught.value.fact
    assert "20.10" in caught.value.fact
    assert "DOCKER_HOST" in caught.value.hint
    assert "--embedded" in caught.value.hint
    assert not (tmp_path / "cache").exists()


def test_an_archive_without_oci_layout_is_refused(tmp_path: Path) -> None:
    found, _ = engine(tmp_path, "true", saved="manifest.json")
    with pytest.raises(NotPossibleHere, match="old format"):
        features.check(found, tmp_path / "cache")
