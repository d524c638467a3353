"""What the store looks like after a fetch was killed, ran out of disk, or met another fetch."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from esb_builder.fetch import fetch
from esb_builder.voice import Recorded
from fetching import World, blob_of
from local_web import Site, serving

TESTS = Path(__file__).parents[3] / "tests"
PROGRAM = TESTS / "fetch_once.py"
KILLS = 10
"""With Range and without: twenty in all."""
STARTS = 60
SIZES = {f"package{number}": (number, 60_000 + 7 * number) for number in range(8)}
CONTENTS = {name: bytes([byte]) * length for name, (byte, length) in SIZES.items()}


@pytest.fixture(params=[True, False], ids=["range", "no range"])
def ranges(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(Site(pause_s=0.05)) as site:
        world = World(site, tmp_path, CONTENTS, mirrors=f"guests={site.address}/guests")
        world.publish()
        yield world


def start(world: World, *before: str, folder: Path | None = None) -> subprocess.Popen[str]:
    path = os.pathsep.join(sys.path)
    program = (sys.executable, PROGRAM, folder or world.folder, world.site.address, json.dumps(SIZES))
    return subprocess.Popen(
        [*before, *map(str, program)],
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wrong_files(store: Path) -> list[str]:
    """Files visible under a name that is not their hash."""
    blobs = [path for path in store.glob("sha256/*") if path.suffix != ".part"]
    return [path.name for path in blobs if path.name != blob_of(path.read_bytes()).sha256]


def killed_in_the_midst(world: World) -> bool:
    """Start a fetch and SIGKILL it at a random moment after its first request; whether it had not ended."""
    world.site.arrived.clear()
    child = start(world)
    assert world.site.arrived.wait(30), child.communicate()
    try:
        child.communicate(timeout=random.uniform(0, 0.5))
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.communicate()
    return child.returncode == -signal.SIGKILL


def test_killed_at_random_moments_it_never_shows_a_wrong_file_and_ends_right(
    world: World, ranges: bool
) -> None:
    world.site.ranges = ranges
    kills = continued = 0
    for _ in range(STARTS):
        kills += killed_in_the_midst(world)
        assert wrong_files(world.store.folder) == []
        continued += any(part.stat().st_size for part in world.store.folder.glob("sha256/*.part"))
        if not world.missing():
            shutil.rmtree(world.store.folder)
        if kills >= KILLS:
            break
    assert kills >= KILLS
    assert continued >= KILLS // 2
    world.site.pause_s = 0
    fetch(world.finder(), Recorded())
    assert all(world.store.is_sound(blob) for _, blob in world.lock.blobs())
    assert list(world.store.folder.glob("sha256/*.part")) == []


def test_two_processes_share_the_work_and_agree(world: World) -> None:
    children = [start(world), start(world)]
    said = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    assert wrong_files(world.store.folder) == []
    assert all(len(world.site.asked_for(f"/debian/pool/main/{name}.deb")) == 1 for name in CONTENTS)


@pytest.mark.root
def test_a_full_disk_is_an_error_with_numbers_and_nothing_wrong_is_visible(
    world: World, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount, keep = f"mount -t tmpfs -o size=320k none {small}", f"cp -r {small}/store {tmp_path}/kept"
    script = f'{mount} && "$@"; code=$?; {keep}; exit $code'
    child = start(world, "unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", folder=small)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1, out + err
    assert "NoRoom no room in" in err
    assert "bytes are needed" in err
    assert "are free" in err
    assert wrong_files(tmp_path / "kept") == []
    assert list((tmp_path / "kept").glob("sha256/*"))
    (tmp_path / "kept").rename(world.store.folder)
    fetch(world.finder(), Recorded())
    assert world.missing() == []
