"""This checkout and its locked inputs, as another machine would have them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from esb_builder.store import Store

ROOT = Path(__file__).parents[1]


def copy_checkout(place: Path) -> None:
    """What git would check out, with the work in progress."""
    listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in (one for one in names if (ROOT / one).is_file()):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, place / name)


def lend_store(source: Store, target: Path) -> None:
    """All of a store, as hard links."""
    (target / "sha256").mkdir(parents=True)
    for path in (source.folder / "sha256").iterdir():
        os.link(path, target / "sha256" / path.name)
