"""A worker's runtime specification: the whole of it, and what moves with a plan."""

from __future__ import annotations

import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from esb_common import ids
from esb_common.function import FunctionBlob
from esb_node.core.ports import WorkerPlan
from esb_node.drivers.containerd.mount_points import mount_points_layer
from esb_node.drivers.containerd.spec import Place, encode_spec

GOLDEN = Path(__file__).with_name("spec.golden.json")
PLACE = Place(
    network=Path("/node/netns/n-1"),
    output=Path("/node/workers/w-0123456789abcdef/output"),
    scratch=Path("/node/workers/w-0123456789abcdef/tmp"),
    resolver=Path("/node/resolv.conf"),
    hosts=Path("/etc/hosts"),
    cgroup="/esb/box/w-0123456789abcdef",
    counts_swap=True,
)


def plan(memory_mib: int = 256) -> WorkerPlan:
    blob = FunctionBlob(
        name=ids.FunctionName("hello"),
        version="$LATEST",
        arn="arn:aws:lambda:us-east-1:000000000000:function:hello",
        region="us-east-1",
        runtime="python3.12",
        handler="app.handler",
        code=ids.digest_of(b"code"),
        memory_mib=memory_mib,
        timeout_s=3,
    )
    return WorkerPlan(
        worker=ids.worker_id("w-0123456789abcdef"),
        function=blob,
        code=Path("/node/code/abc"),
        arguments=("/var/lang/bin/python3.12", "/var/runtime/bootstrap.py"),
        environment=MappingProxyType({"_HANDLER": "app.handler", "GREETING": "gr\u00fc\u00df=dich"}),
    )


def spec(memory_mib: int = 256, place: Place = PLACE) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(encode_spec(plan(memory_mib), place))
    return content


def test_the_specification_is_the_one_that_was_reviewed() -> None:
    assert spec() == json.loads(GOLDEN.read_text())


def test_a_worker_has_no_capability_and_no_way_to_one() -> None:
    process = spec()["process"]
    assert not any(process["capabilities"].values())
    assert process["noNewPrivileges"]
    assert process["user"] == {"uid": 993, "gid": 993}


@pytest.mark.parametrize(("memory_mib", "shares"), [(128, 74), (1769, 1024), (10240, 5927), (1, 2)])
def test_memory_limits_swap_too_and_weighs_the_processor(memory_mib: int, shares: int) -> None:
    resources = spec(memory_mib)["linux"]["resources"]
    assert resources["memory"] == {"limit": memory_mib << 20, "swap": memory_mib << 20}
    assert resources["cpu"] == {"shares": shares}


def test_a_kernel_that_cannot_count_swap_is_not_asked_to() -> None:
    place = Place(**{name: getattr(PLACE, name) for name in Place.__slots__} | {"counts_swap": False})
    assert spec(place=place)["linux"]["resources"]["memory"] == {"limit": 256 << 20}


def test_every_mount_has_a_point_in_the_image_or_below_another_mount(tmp_path: Path) -> None:
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(mount_points_layer())) as archive:
        there = {f"/{name}" for name in archive.getnames()}
    for mount in spec()["mounts"]:
        assert mount["destination"] in there | {"/dev/shm"}


def test_the_layer_of_mount_points_is_the_same_bytes_each_time() -> None:
    assert ids.digest_of(mount_points_layer()) == ids.digest_of(mount_points_layer())
    assert ids.digest_of(mount_points_layer()) == (
        "sha256:40a9decff38aabb088059bd935807d231abb9b1e7407fc4a09840a1dc59341e5"
    )
