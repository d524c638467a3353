"""Images through a real containerd: unpacked once, shared, replaced and removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from esb_common.log import Log
from esb_node.core.ports import StartRefused
from esb_node.drivers.containerd.client import Containerd
from esb_node.drivers.containerd.images import Images, top_first
from esb_node.drivers.containerd.programs import Programs
from esb_node.drivers.containerd.supervisor import Supervisor
from image_archives import Layout, digest, layer

BASE = layer(base="debian")
ARCHIVE = "esb-lambda-python.tar"


def with_images(
    folder: Path, programs: Programs, act: Callable[[Images, Containerd], Awaitable[None]]
) -> None:
    """Run ``act`` on images opened over a containerd of this test's own."""

    async def life() -> None:
        supervisor = Supervisor(folder, programs.containerd, Log("test"))
        await supervisor.open()
        containerd = Containerd(supervisor.socket, programs.runc, folder / "runc")
        try:
            await containerd.make_namespace()
            images = Images(containerd, folder, Log("test"))
            await images.open()
            await act(images, containerd)
            await images.close()
        finally:
            await containerd.close()
            await supervisor.close()

    asyncio.run(asyncio.wait_for(life(), 60))


def put(folder: Path, layout: Layout) -> None:
    """Replace the archive as ``esb build`` does: at once."""
    layout.write(folder / "new.tar").rename(folder / ARCHIVE)


@pytest.mark.engine
@pytest.mark.root
def test_an_image_is_unpacked_once_and_shown_read_only(folder: Path, programs: Programs) -> None:
    put(folder, Layout(BASE, layer(code="one"), compress=True))

    async def first(images: Images, containerd: Containerd) -> None:
        root = await images.take("python3.12")
        assert root == await images.take("python3.12")
        assert list(await containerd.snapshots()) == [*root.chain, root.view] or set(
            await containerd.snapshots()
        ) == {*root.chain, root.view}
        assert not any(option.startswith("upperdir") for mount in root.mounts for option in mount.options)

    with_images(folder, programs, first)
    with_images(folder, programs, first)


@pytest.mark.engine
@pytest.mark.root
def test_a_replaced_archive_serves_new_workers_and_the_old_goes_with_its_last(
    folder: Path, programs: Programs
) -> None:
    put(folder, Layout(BASE, layer(code="one")))

    async def act(images: Images, containerd: Containerd) -> None:
        old = await images.take("python3.12")
        put(folder, Layout(BASE, layer(code="two")))
        new = await images.take("python3.12")
        assert new.image != old.image
        assert {old.view, new.view} <= set(await containerd.snapshots())
        images.give_back(old)
        await images.close()
        assert set(await containerd.snapshots()) == {*new.chain, new.view}
        assert new.chain[0] == old.chain[0] == digest(BASE)

    with_images(folder, programs, act)


@pytest.mark.engine
@pytest.mark.root
def test_a_bad_archive_changes_nothing(
    folder: Path, programs: Programs, caplog: pytest.LogCaptureFixture
) -> None:
    put(folder, Layout(BASE))

    async def act(images: Images, containerd: Containerd) -> None:
        root = await images.take("python3.12")
        (folder / ARCHIVE).write_bytes(b"not an archive")
        assert await images.take("python3.12") == root

    with_images(folder, programs, act)
    assert "image refused" in caplog.messages


@pytest.mark.engine
@pytest.mark.root
def test_layers_that_occur_twice_or_are_known_from_another_image_are_no_trouble(
    folder: Path, programs: Programs
) -> None:
    nothing = layer()

    async def act(images: Images, containerd: Containerd) -> None:
        for number in range(10):
            put(folder, Layout(nothing, BASE, nothing, layer(number=str(number)), nothing, BASE))
            root = await images.take("python3.12")
            assert len(root.chain) == 7
            images.give_back(root)

    with_images(folder, programs, act)


def _other_content(layout: Layout) -> None:
    layout.members[f"blobs/sha256/{layout.layers[0]['digest'][7:]}"] = bytes(len(BASE))


def _other_diff_id(layout: Layout) -> None:
    layout.config = layout.blob({"rootfs": {"diff_ids": [digest(b"something else")]}}, "config")
    layout.set_manifest()


@pytest.mark.engine
@pytest.mark.root
@pytest.mark.parametrize("damage", [_other_content, _other_diff_id])
def test_a_layer_that_is_not_what_its_name_says_is_refused_and_leaves_nothing(
    folder: Path, programs: Programs, damage: Callable[[Layout], None]
) -> None:
    layout = Layout(BASE)
    damage(layout)
    put(folder, layout)

    async def act(images: Images, containerd: Containerd) -> None:
        with pytest.raises(StartRefused, match="StartFailed"):
            await images.take("python3.12")
        assert not await containerd.snapshots()

    with_images(folder, programs, act)


@pytest.mark.engine
@pytest.mark.root
def test_a_runtime_without_an_image_is_refused(folder: Path, programs: Programs) -> None:
    async def act(images: Images, containerd: Containerd) -> None:
        for runtime in ("python3.12", "cobol85"):
            with pytest.raises(StartRefused) as refused:
                await images.take(runtime)
            assert refused.value.error == "UnsupportedRuntime"
            assert runtime in refused.value.message

    with_images(folder, programs, act)


def test_snapshots_are_removed_from_the_top() -> None:
    assert list(top_first({"base": "", "left": "base", "right": "base", "view": "left"})) == [
        "right",
        "view",
        "left",
        "base",
    ]
