"""Certificates are made before anything else, and told to plain ``docker compose``."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from esb_cli import certificates
from esb_cli.framework import Session
from esb_cli.output import Printer
from esb_common.errors import BadInput


def session(place: Path, **environ: str) -> Session:
    (place / "checkout").mkdir(exist_ok=True)
    printer = Printer(as_json=False, out=io.StringIO(), err=io.StringIO())
    return Session({"ESB_HOME": str(place / "home")} | environ, place / "checkout", printer)


def test_compose_learns_where_the_certificates_are(tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/.env").write_text("MINE=1\nESB_PORT=1\n")
    trust = certificates.ready(session(tmp_path, ESB_PORT="9443", ESB_UID="77", ESB_GID="78"))
    lines = (tmp_path / "checkout/.env").read_text().splitlines()
    assert lines[:2] == ["MINE=1", "ESB_PORT=9443"]
    assert sorted(lines[2:]) == [
        f"ESB_CERT_DIR={tmp_path}/home/certs",
        f"ESB_CREDENTIALS_DIR={tmp_path}/home/credentials",
        "ESB_GID=78",
        f"ESB_IMAGE_DIR={tmp_path}/home/images",
        f"ESB_ROOT_CA_SHA256={trust.root_file_sha256}",
        "ESB_UID=77",
    ]


def test_a_second_time_nothing_is_written(tmp_path: Path) -> None:
    certificates.ready(session(tmp_path))
    before = (tmp_path / "checkout/.env").stat()
    certificates.ready(session(tmp_path))
    assert (tmp_path / "checkout/.env").stat().st_mtime_ns == before.st_mtime_ns


def test_a_wrong_root_leaves_compose_alone(tmp_path: Path) -> None:
    (tmp_path / "home/certs").mkdir(parents=True)
    (tmp_path / "home/certs/rootCA.crt").write_text("garbage")
    with pytest.raises(BadInput):
        certificates.ready(session(tmp_path))
    assert not (tmp_path / "checkout/.env").exists()


def test_a_port_that_is_none_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="ESB_PORT"):
        certificates.ready(session(tmp_path, ESB_PORT="99999"))
    assert not (tmp_path / "home").exists()
