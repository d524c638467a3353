"""Which mirror the machine's own apt configuration names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from esb_builder import run
from esb_builder.engine import packages
from esb_builder.voice import Recorded
from esb_common.errors import NotPossibleHere

TARGETS = """\
bookworm-security main http://mirror.example/debian-security
bookworm contrib http://other.example/debian
bookworm main http://mirror.example/debian
bookworm-updates main http://mirror.example/debian
"""


def test_the_mirror_is_the_one_of_the_release_and_main() -> None:
    assert packages.mirror_of(TARGETS, "bookworm") == "http://mirror.example/debian"
    assert packages.mirror_of(TARGETS, "trixie") is None


def test_the_code_name_is_read_with_or_without_quotes() -> None:
    assert packages.codename_of('ID=debian\nVERSION_CODENAME="bookworm"\n') == "bookworm"
    assert packages.codename_of("VERSION_CODENAME=trixie\n") == "trixie"
    assert packages.codename_of("ID=debian\n") == ""


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="reads Debian's apt configuration")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            "one.list",
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://one.example/d NAME main\n",
        ),
        ("two.sources", "Types: deb\nURIs: http://one.example/d\nSuites: NAME\nComponents: main\n"),
    ],
)
def test_apt_itself_reads_both_forms_of_sources(tmp_path: Path, name: str, content: str) -> None:
    codename = packages.codename_of(Path("/etc/os-release").read_text())
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / name).write_text(content.replace("NAME", codename))
    configuration = tmp_path / "apt.conf"
    configuration.write_text(f'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{tmp_path}/parts";')
    environ = run.clean(os.environ, APT_CONFIG=str(configuration))
    assert packages.mirror(environ) == ("http://one.example/d", codename)


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="reads Debian's apt configuration")
def test_no_mirror_names_the_ways_on(tmp_path: Path) -> None:
    configuration = tmp_path / "apt.conf"
    configuration.write_text('Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "/dev/null";')
    environ = run.clean(os.environ, APT_CONFIG=str(configuration))
    with pytest.raises(NotPossibleHere) as caught:
        packages.mirror(environ)
    assert "--embedded" in caught.value.hint


def test_a_prefix_that_is_there_is_not_fetched_again(tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    voice = Recorded()
    packages.install(prefix, {"PATH": ""}, voice)
    assert voice.said == []


def test_a_broken_off_fetch_leaves_no_prefix(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text(
        '#!/bin/sh\n[ "$1" = indextargets ] || exit 100\n. /etc/os-release\n'
        'echo "$VERSION_CODENAME main http://mirror.example/debian"\n'
    )
    (programs / "apt-get").chmod(0o755)
    with pytest.raises(Exception, match="exit code 100"):
        packages.install(tmp_path / "prefix", {"PATH": f"{programs}:/usr/bin:/bin"}, Recorded())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["bin"]


def test_versions_of_a_foreign_prefix_are_unknown(tmp_path: Path) -> None:
    assert packages.versions(tmp_path) == {}
