"""What a bundle left for a machine without network: wheels and packages by file name, in one folder.

``${ESB_HOME}/offline`` holds ``wheels``, ``engine`` and ``host``, and ``locks``: a line for each requirement
file (its SHA-256) whose packages are all there. Whoever needs one of these looks here first: the
bytes are the ones that the lock files pin, so it makes no difference but the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from esb_common import settings


def folder(environ: Mapping[str, str]) -> Path:
    """Where it is, or would be."""
    return settings.folder(environ, "ESB_HOME", "~/.esb") / "offline"


def wheels_for(requirements: Path, environ: Mapping[str, str]) -> Path | None:
    """The folder of wheels, where it has all that a requirement file pins; else None."""
    place = folder(environ)
    known = place / "locks"
    if known.exists() and hashlib.sha256(requirements.read_bytes()).hexdigest() in known.read_text().split():
        return place / "wheels"
    return None


def packages(kind: str, environ: Mapping[str, str]) -> list[Path]:
    """The Debian packages for the ``engine`` or the ``host``; none where no bundle brought any."""
    return sorted((folder(environ) / kind).glob("*.deb"))
