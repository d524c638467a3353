"""Copies of the checkout that tests may change: all that git would carry, or only what the builds take."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from esb_builder import dockerfile, plan

ROOT = Path(__file__).parents[2]


def whole(place: Path) -> Path:
    """Every file that git knows or would add."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\0")
    return copied(place, (name for name in names if name))


def pruned(place: Path) -> Path:
    """What the Dockerfiles name, they themselves, and the lock: every other file is deleted."""
    recipes = {image.dockerfile for image in plan.FAMILY.values()}
    sources = {one for path in recipes for one in dockerfile.parse((ROOT / path).read_text()).sources}
    return copied(place, {*recipes, *plan.files(ROOT, sources), ".dockerignore", "esb.lock"})


def copied(place: Path, names: Iterable[str]) -> Path:
    for name in names:
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place / name)
    return place
