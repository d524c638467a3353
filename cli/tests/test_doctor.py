"""Each judgement of the doctor, from facts alone."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from esb_cli.doctor import judge
from esb_cli.doctor.facts import controllers

NOW = dt.datetime(2027, 3, 1, tzinfo=dt.UTC)
HEALTHY = judge.Facts(
    python=(3, 12, 4),
    index=None,
    mirror=None,
    has_apt=True,
    free_gb={"/home": 50.0},
    cgroup_version=2,
    controllers=frozenset({"cpu", "memory", "pids", "io"}),
    namespaces=judge.NAMESPACES | {"cgroup", "time"},
    user_namespaces=True,
    is_root=True,
    port=8443,
    port_owner="nobody",
    now=NOW,
    engine="28.0 (yours) at the socket",
    engine_complaint=None,
    certificates_begin=NOW - dt.timedelta(days=10),
    certificates_end=NOW + dt.timedelta(days=700),
    certificates_complaint=None,
)


def test_a_healthy_machine_has_nothing_to_mend() -> None:
    found = judge.all_checks(HEALTHY)
    assert [check.verdict for check in found] == ["good"] * len(found)
    assert not any(check.mend for check in found)


@pytest.mark.parametrize(
    ("seen", "name", "verdict", "said"),
    [
        ({"python": (3, 11, 2)}, "python", "bad", "3.11.2"),
        ({"index": "UnknownIssuer"}, "package index", "warning", "UnknownIssuer"),
        ({"mirror": "Temporary failure"}, "Debian mirror", "warning", "Temporary"),
        ({"has_apt": False}, "Debian mirror", "warning", "no apt"),
        ({"free_gb": {"/home": 50.0, "/var": 2.0}}, "disk", "bad", "/var 2 GB"),
        ({"now": dt.datetime(1970, 1, 1, tzinfo=dt.UTC)}, "clock", "bad", "1970-01-01"),
        ({"certificates_begin": NOW + dt.timedelta(days=1)}, "clock", "bad", "in the past"),
        ({"controllers": frozenset({"cpu", "pids"})}, "cgroups", "bad", "without memory"),
        ({"namespaces": frozenset({"mnt", "pid", "ipc", "uts", "user"})}, "namespaces", "bad", "lacks net"),
        ({"is_root": False, "user_namespaces": False}, "namespaces", "warning", "no user namespaces"),
        ({"port_owner": "other"}, "port", "bad", "8443 is taken"),
        ({"engine_complaint": "too old"}, "engine", "warning", "too old"),
        ({"certificates_complaint": "it expired"}, "certificates", "bad", "it expired"),
        ({"certificates_end": NOW + dt.timedelta(days=40)}, "certificates", "warning", "40 days"),
    ],
)
def test_each_fault_is_named_with_its_mend(seen: dict[str, Any], name: str, verdict: str, said: str) -> None:
    faults = [check for check in judge.all_checks(replace(HEALTHY, **seen)) if check.verdict != "good"]
    assert [(check.name, check.verdict) for check in faults] == [(name, verdict)]
    assert said in faults[0].fact
    assert faults[0].mend


@pytest.mark.parametrize(
    "seen",
    [
        {"port_owner": "box"},
        {"certificates_end": None},
        {"is_root": False},
        {"namespaces": judge.NAMESPACES - {"user"}},
    ],
)
def test_what_only_looks_odd_is_fine(seen: dict[str, Any]) -> None:
    assert {check.verdict for check in judge.all_checks(replace(HEALTHY, **seen))} == {"good"}


def test_controllers_of_version_2_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    assert controllers(tmp_path) == {"cpu", "io", "memory", "pids"}


def test_controllers_of_version_1_are_mounted_alone_or_together(tmp_path: Path) -> None:
    for hierarchy in ("cpu,cpuacct", "memory"):
        (tmp_path / hierarchy).mkdir()
        (tmp_path / hierarchy / "tasks").touch()
    (tmp_path / "unified").mkdir()
    assert controllers(tmp_path) == {"cpu", "cpuacct", "memory"}
