"""Finding what the machine must have."""

from __future__ import annotations

from pathlib import Path

import pytest
from esb_common.errors import NotPossibleHere
from esb_node.drivers.containerd.programs import find_programs

ALL = (
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/sbin/runc",
    "usr/sbin/iptables",
    "usr/lib/cni/bridge",
    "usr/lib/cni/host-local",
)


def install(prefix: Path, *names: str) -> str:
    for name in names:
        path = prefix / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    return f"{prefix}/usr/bin:{prefix}/usr/sbin"


def test_programs_are_found_on_the_path_and_plugins_beside_runc(tmp_path: Path) -> None:
    programs = find_programs(install(tmp_path, *ALL))
    assert programs.containerd == tmp_path / "usr/bin/containerd"
    assert programs.plugins == tmp_path / "usr/lib/cni"


@pytest.mark.parametrize("missing", ALL)
def test_what_is_missing_is_named_with_its_package(tmp_path: Path, missing: str) -> None:
    path = install(tmp_path, *(name for name in ALL if name != missing))
    with pytest.raises(NotPossibleHere, match=Path(missing).name) as raised:
        find_programs(path)
    assert "(" in raised.value.fact
