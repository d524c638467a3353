"""The sandbox program: what a program started by it is, sees and may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from esb_common.errors import BadInput
from esb_node.sandbox import read_spec

SOURCES = [str(Path(__file__).parents[2] / one / "src") for one in ("common", "runtime-node")]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="without root there is nothing to drop")

LOOK = """
import json, os
lines = open("/proc/self/status").read().splitlines()
status = dict(line.split(":\\t", 1) for line in lines if ":\\t" in line)
places = ["/", "/usr", "/etc", "/tmp", *os.environ["LOOK"].split(":")]
print(json.dumps({
    "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "powers": [status[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")],
    "root": sorted(os.listdir("/")),
    "processes": [name for name in os.listdir("/proc") if name.isdecimal()],
    "writable": [path for path in places if os.access(path, os.W_OK)],
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev").readlines()[2:]],
    "shadow": os.access("/etc/shadow", os.R_OK),
}))
"""


def run(spec: Path, *program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "esb_node.sandbox", str(spec), "--", *program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(SOURCES), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def look(tmp_path: Path, **members: Any) -> dict[str, Any]:
    (tmp_path / "ours").mkdir()
    os.chown(tmp_path / "ours", 10001, 10001)
    (tmp_path / "read").mkdir(mode=0o777)
    binds = [
        {"source": sys.base_prefix, "at": sys.base_prefix},
        {"source": str(tmp_path / "ours"), "at": "/srv/ours", "writable": True},
        {"source": str(tmp_path / "read"), "at": "/srv/read"},
    ]
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"uid": 10001, "gid": 10002, "binds": binds, **members}))
    python = f"{sys.base_prefix}/bin/python3.12"
    done = run(spec, python, "-I", "-c", LOOK, LOOK="/srv/ours:/srv/read")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_root
@pytest.mark.root
def test_the_program_has_the_user_no_power_and_only_what_is_bound(tmp_path: Path) -> None:
    seen = look(tmp_path)
    assert seen["ids"] == [10001, 10002, []]
    assert seen["powers"] == ["0" * 16] * 4 + ["1"]
    assert seen["writable"] == ["/tmp", "/srv/ours"]
    assert not seen["shadow"]
    assert len(seen["processes"]) == 1
    top = "/" + Path(sys.base_prefix).parts[1]
    allowed = {
        "bin",
        "sbin",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "usr",
        "etc",
        "dev",
        "proc",
        "tmp",
        "srv",
        top[1:],
    }
    assert set(seen["root"]) <= allowed


@needs_root
@pytest.mark.root
def test_without_the_hosts_network_there_is_only_a_loopback(tmp_path: Path) -> None:
    tunnels = ("sit", "tunl", "ip6", "gre", "erspan")
    interfaces = look(tmp_path, host_network=False)["interfaces"]
    assert [name for name in interfaces if not name.startswith(tunnels)] == ["lo"]


@needs_root
@pytest.mark.root
def test_a_missing_source_is_a_clear_error(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"uid": 1, "gid": 1, "binds": [{"source": "/nowhere", "at": "/nowhere"}]}))
    done = run(spec, "true")
    assert done.returncode == 3
    assert "/nowhere" in done.stderr


def test_the_programs_exit_code_is_ours(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"uid": os.getuid(), "gid": os.getgid(), "binds": []}))
    assert run(spec, "sh", "-c", "exit 42").returncode == 42
    assert run(spec, "no-such-program").returncode == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"uid":1,"gid":1,"binds":[],"more":1}',
        b'{"uid":1,"gid":1,"binds":[{"source":"a","at":"/b"}]}',
    ],
)
def test_a_wrong_spec_is_refused(content: bytes) -> None:
    with pytest.raises(BadInput, match="not a sandbox's spec"):
        read_spec(content)
