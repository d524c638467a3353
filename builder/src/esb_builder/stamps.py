"""What earlier builds gave: for each image the parts of its key, its id, and what the engine called it.

The engine's own id of an image only says whether a tag was moved since; with the containerd
image store it is a manifest's digest, elsewhere the configuration's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from esb_common.ids import Digest


@dataclass(frozen=True, slots=True)
class Stamp:
    """One image as it was built. ``parent_engine_id`` is empty where it has no parent, and both
    engine ids where no engine had it yet.

    ``form`` is the version of the canonical form that ``id`` is in; 0 is none.
    """

    parts: Mapping[str, str]
    id: Digest
    engine_id: str
    parent_engine_id: str
    form: int = 0


def read(home: Path, name: str) -> Stamp | None:
    """The stamp of ``name``, or None where it was never built here."""
    path = _path(home, name)
    return Stamp(**json.loads(path.read_text())) if path.exists() else None


def write(home: Path, name: str, stamp: Stamp) -> None:
    """Replace the stamp of ``name`` in one step."""
    path = _path(home, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    aside.write_text(json.dumps(asdict(stamp), indent=1))
    aside.replace(path)


def _path(home: Path, name: str) -> Path:
    return home / "stamps" / f"{name}.json"
