"""``esb sbom``, ``esb key``, ``esb sign`` and ``esb verify --signatures`` as a person meets them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from esb_builder import stamps, verify
from esb_builder.archive import Archive
from esb_builder.signing.attestations import FILES
from esb_builder.stamps import Stamp
from stocked_families import DEBIAN, archives, stocked

ROOT = Path(__file__).parents[2]
OS_BASE = "esb-os-base"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (path,) = archives(tmp_path / "images", {OS_BASE: stocked()[OS_BASE]})
    return path


@pytest.fixture
def home(tmp_path: Path, archive: Path) -> Path:
    """A home that has a record of how the archive's image was built."""
    with Archive(archive) as opened:
        image = verify.subjects([opened])[OS_BASE].image.id
    folder = tmp_path / "home"
    stamps.write(folder, OS_BASE, Stamp({"the way of building": "1", "Dockerfile": "a" * 64}, image, "", ""))
    return folder


def esb(home: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(str(ROOT / source) for source in ("cli/src", "builder/src", "services/common/src"))
    environ = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": path, "ESB_HOME": str(home)}
    command = [sys.executable, "-P", "-m", "esb_cli", *map(str, arguments)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


def told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("form", "ending", "things"), [("cyclonedx", "cdx.json", "components"), ("spdx", "spdx.json", "packages")]
)
def test_a_bill_is_written_for_each_image(
    form: str, ending: str, things: str, archive: Path, home: Path, tmp_path: Path
) -> None:
    printed = told(esb(home, "sbom", archive, "--format", form))
    told(esb(home, "sbom", archive, "--format", form, "--output", tmp_path / "out", "--json"))
    (file,) = (tmp_path / "out").iterdir()
    assert file.name == f"{OS_BASE}.{ending}"
    assert json.loads(file.read_text()) == printed
    assert set(DEBIAN) <= {one["name"] for one in printed[things]}


def test_a_key_is_made_shown_and_kept(home: Path) -> None:
    made = told(esb(home, "key", "init", "--json"))
    assert made["made"]
    assert told(esb(home, "key", "show", "--json"))["fingerprint"] == made["fingerprint"]
    assert told(esb(home, "key", "init", "--json")) == made | {"made": False}
    assert made["fingerprint"] in esb(home, "key", "show").stdout


def test_what_is_signed_verifies_and_only_with_the_right_fingerprint(archive: Path, home: Path) -> None:
    fingerprint = told(esb(home, "key", "init", "--json"))["fingerprint"]
    signed = esb(home, "sign", archive)
    assert f"./esb verify --signatures --trust {fingerprint}" in signed.stdout
    assert (
        signed_row(esb(home, "verify", archive, "--signatures", "--trust", fingerprint, "--json")) == "pass"
    )
    wrong = esb(home, "verify", archive, "--signatures", "--trust", "0" * 64, "--json")
    assert (signed_row(wrong), wrong.returncode) == ("fail", 1)
    (folder,) = (home / "attestations").iterdir()
    (folder / next(iter(FILES.values()))).unlink()
    assert (
        signed_row(esb(home, "verify", archive, "--signatures", "--trust", fingerprint, "--json")) == "fail"
    )


def test_without_a_fingerprint_it_is_refused_and_one_is_told_how_to_get_it(archive: Path, home: Path) -> None:
    done = esb(home, "verify", archive, "--signatures")
    assert done.returncode == 2
    assert "--trust FINGERPRINT" in done.stderr
    assert "./esb key show" in done.stderr
    assert esb(home, "verify", archive, "--trust", "0" * 64).returncode == 2


def test_nothing_is_signed_without_a_key_or_without_a_record(
    archive: Path, home: Path, tmp_path: Path
) -> None:
    done = esb(home, "sign", archive)
    assert (done.returncode, "./esb key init" in done.stderr) == (5, True)
    esb(tmp_path / "other", "key", "init")
    done = esb(tmp_path / "other", "sign", archive)
    assert (done.returncode, "no record of how esb-os-base" in done.stderr) == (5, True)
    assert not (tmp_path / "other/attestations").exists()


def signed_row(done: subprocess.CompletedProcess[str]) -> str:
    (row,) = [one for one in told(done)["rows"] if one["row"] == "signed"]
    return str(row["status"])
