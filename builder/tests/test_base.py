"""The bootstrapped base: which mirrors are used, and what mmdebstrap is told."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from esb_builder import base
from esb_builder.cache import Layouts
from esb_builder.voice import Recorded
from esb_common.errors import Broken, NotPossibleHere

MAIN = "http://mirror.example/debian/|bookworm|main|Debian"


def test_sources_are_the_machines_mirrors_of_debians_main_archive() -> None:
    targets = [
        MAIN,
        "http://mirror.example/debian/|bookworm-updates|main|Debian",
        "http://mirror.example/security|bookworm-security|main|$(ORIGIN)",
        "http://mirror.example/debian/|bookworm|contrib|Debian",
        "https://vendor.example/apt|bookworm|main|Vendor",
        "https://vendor.example/apt|bookworm-pgdg|main|Debian",
        "https://vendor.example/apt|nodistro|main|Debian",
        MAIN,
    ]
    assert base.sources_of(targets) == (
        "deb http://mirror.example/debian bookworm main",
        "deb http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main",
    )


def test_a_machine_of_another_release_lends_its_mirrors() -> None:
    targets = ["http://m.example/debian|trixie|main|Debian", "http://m.example/s|trixie-security|main|Debian"]
    assert base.sources_of(targets) == (
        "deb http://m.example/debian bookworm main",
        "deb http://m.example/s bookworm-security main",
    )


def program(folder: Path, name: str, body: str) -> None:
    """A stand-in on PATH, written in Python."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys\n{body}\n")
    path.chmod(0o755)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    program(tmp_path / "bin", "apt-get", f"print({MAIN!r})")
    program(
        tmp_path / "bin",
        "apt-config",
        """print('Acquire::Check-Valid-Until "false";')
print('Acquire::http::Proxy "http://user:secret@proxy:1/";')
print('APT::Architecture "amd64";')""",
    )
    return {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def test_apt_lends_proxy_and_date_checks_and_nothing_else(environ: dict[str, str]) -> None:
    apt = base.apt_of_machine(environ)
    assert apt.sources_text == "deb http://mirror.example/debian bookworm main\n"
    assert apt.settings.splitlines() == [
        'Acquire::Check-Valid-Until "false";',
        'Acquire::http::Proxy "http://user:secret@proxy:1/";',
    ]
    assert "secret" not in repr(apt)


def test_without_a_debian_mirror_both_ways_on_are_named(environ: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "bin", "apt-get", "")
    with pytest.raises(NotPossibleHere, match="--source registry"):
        base.apt_of_machine(environ)


BOOTSTRAP = """
words = sys.argv[1:]
root, = [word for word in words if word.endswith('root.tar')]
option, = [word for word in words if word.startswith('--aptopt=')]
facts = {'words': words, 'epoch': os.environ['SOURCE_DATE_EPOCH'],
         'settings': pathlib.Path(option.partition('=')[2]).read_text()}
seen = pathlib.Path(os.environ['HOME'], 'seen.json')
seen.write_text(json.dumps(facts))
pathlib.Path(root).write_bytes(bytes(10240))
"""


def test_the_base_is_bootstrapped_once_with_signatures_verified(
    environ: dict[str, str], tmp_path: Path
) -> None:
    program(tmp_path / "bin", "mmdebstrap", BOOTSTRAP)
    environ["HOME"] = str(tmp_path)
    apt, layouts, voice = base.apt_of_machine(environ), Layouts(tmp_path / "cache"), Recorded()
    first = base.debian(layouts, apt, environ, voice)
    seen = json.loads((tmp_path / "seen.json").read_text())
    assert f"--keyring={base.KEYRING}" in seen["words"]
    assert seen["words"][-1] == "deb http://mirror.example/debian bookworm main"
    assert seen["settings"] == apt.settings
    assert not [word for word in seen["words"] if "secret" in word or "unauthenticated" in word]
    program(tmp_path / "bin", "mmdebstrap", "sys.exit('never again')")
    assert base.debian(layouts, apt, environ, voice) == first
    assert voice.said == ["bootstrap Debian 12"]
    assert first.reference == f"oci-layout://{tmp_path}/cache/debian-{base.key()[:16]}@{first.digest}"


def test_a_failed_bootstrap_leaves_nothing_behind(environ: dict[str, str], tmp_path: Path) -> None:
    program(tmp_path / "bin", "mmdebstrap", "sys.exit('E: no signature')")
    layouts = Layouts(tmp_path / "cache")
    with pytest.raises(Broken, match="no signature"):
        base.debian(layouts, base.apt_of_machine(environ), environ, Recorded())
    assert list(layouts.folder.iterdir()) == []
