"""Firecracker mode before its driver: the node runs, and refuses by name."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from esb_common import ids
from esb_common.errors import NotPossibleHere
from esb_common.function import FunctionBlob
from esb_node import app
from esb_node.core.plan import worker_plan
from esb_node.core.ports import StartRefused
from esb_node.drivers.firecracker import FirecrackerDriver
from esb_node.settings import node_settings


def refusal(artefacts: Path) -> StartRefused:
    async def start() -> None:
        driver = FirecrackerDriver(artefacts)
        await driver.open()
        blob = FunctionBlob(
            name=ids.FunctionName("f"),
            version="$LATEST",
            arn="arn",
            region="us-east-1",
            runtime="python3.12",
            handler="app.handler",
            code=ids.digest_of(b""),
            memory_mib=128,
            timeout_s=3,
        )
        await driver.start(worker_plan(ids.worker_id("w-" + "0" * 16), blob, artefacts, 0.0))

    with pytest.raises(StartRefused) as caught:
        asyncio.run(start())
    return caught.value


def test_a_start_is_refused_and_the_missing_driver_named(tmp_path: Path) -> None:
    (tmp_path / "artefacts").write_text("pinned\n0  firecracker.tgz\n")
    refused = refusal(tmp_path / "artefacts")
    assert refused.error == "StartFailed"
    assert refused.message == "ESB has no firecracker driver yet, so no microVM is started"


def test_stand_ins_are_named_too(tmp_path: Path) -> None:
    (tmp_path / "artefacts").write_text("stand-ins\n")
    assert "no firecracker driver yet" in refusal(tmp_path / "artefacts").message
    assert "built from stand-ins" in refusal(tmp_path / "artefacts").message


@pytest.mark.parametrize("text", [None, "", "anything\n"])
def test_an_image_that_does_not_say_what_it_holds_is_refused(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "artefacts").write_text(text)
    with pytest.raises(NotPossibleHere, match="does not say what Firecracker this is"):
        asyncio.run(FirecrackerDriver(tmp_path / "artefacts").open())


def test_the_mode_is_the_nodes_and_promises_no_less_than_microvms(tmp_path: Path) -> None:
    settings = node_settings({"ESB_MODE": "firecracker", "ESB_HOME": str(tmp_path)}, 0, 0)
    driver = app.choose_driver(settings)
    assert (driver.name, driver.isolation) == ("firecracker", "microvms")
