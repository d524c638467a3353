"""Python, uv and openssl in the gateway's image accept what the root CA signed, and nothing else."""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from authorities import authority
from conformance.conftest import Workbench
from esb_builder.ca import issue

pytestmark = pytest.mark.engine

NAMES = frozenset({"localhost", "127.0.0.1"})


def test_every_client_accepts_our_root_and_refuses_another(bench: Workbench, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    for name in ("trusted", "foreign"):
        (tmp_path / name).mkdir(mode=0o755)
    bench.leaf(tmp_path / "trusted")
    now = datetime.now(UTC)
    other, key = issue.new_key(), issue.new_key()
    root = authority(other, "Other Root", other, "Other Root", now, days=30)
    (tmp_path / "foreign/server.crt").write_bytes(issue.pem(issue.leaf(key, NAMES, root, other, now)))
    (tmp_path / "foreign/server.key").write_bytes(issue.key_bytes(key))
    shutil.copy(Path(__file__).with_name("tls_clients.py"), tmp_path / "clients.py")
    for path in tmp_path.rglob("*.*"):
        path.chmod(0o644)
    mount = f"--volume={tmp_path}:/tls:ro"
    done = bench.run("esb-gateway:latest", "python", "/tls/clients.py", options=(mount, "--network=none"))
    assert done.code == 0, done.stderr
    expected = {"trusted": True, "foreign": False}
    assert json.loads(done.stdout) == {"python": expected, "uv": expected, "openssl": expected}
