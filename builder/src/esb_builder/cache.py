"""OCI layouts that took time to make, each in a folder named by what it is and its key.

A layout is made aside and renamed, so it is complete or absent; two makers at once end with one of
the two, which are equal. Nothing expires by itself: emptying the folder is always safe.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from esb_common import ids


@dataclass(frozen=True, slots=True)
class Source:
    """Where a named context of a build comes from, in ``docker buildx build``'s words."""

    reference: str
    digest: ids.Digest


@dataclass(frozen=True, slots=True)
class Layouts:
    """A folder of layouts."""

    folder: Path

    def get(self, name: str, key: str, make: Callable[[Path], None]) -> Source:
        """The layout of ``name`` with ``key``; ``make`` writes it into a new folder where it is absent."""
        kept = self.folder / f"{name}-{key[:16]}"
        if not kept.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=f".{name}-") as scratch:
                aside = Path(scratch, "layout")
                make(aside)
                _keep(aside, kept)
        digest = manifest_of(kept)
        return Source(f"oci-layout://{kept}@{digest}", digest)


def manifest_of(layout: Path) -> ids.Digest:
    """The digest of the one image in a layout of ours."""
    index = json.loads((layout / "index.json").read_text())
    return ids.digest(index["manifests"][0]["digest"])


def _keep(aside: Path, kept: Path) -> None:
    try:
        aside.rename(kept)
    except OSError:
        if not kept.exists():
            raise
        shutil.rmtree(aside)
