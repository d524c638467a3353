"""The last layer of every worker's root: the places onto which a worker's own files are mounted.

A worker's root is read-only and shared, so the container runtime cannot make these places at start. They
come as a layer of our own: a small archive, the same bytes each time, named by its digest like any other
layer.
"""

from __future__ import annotations

import io
import tarfile

_FOLDERS = {
    "dev": 0o755,
    "etc": 0o755,
    "proc": 0o555,
    "run": 0o755,
    "run/esb": 0o755,
    "tmp": 0o1777,
    "var": 0o755,
    "var/task": 0o755,
}
_FILES = ("etc/hosts", "etc/resolv.conf", "run/esb/output")


def mount_points_layer() -> bytes:
    """An uncompressed tar archive of the mount points that ``spec.py`` uses."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, mode in _FOLDERS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        for name in _FILES:
            entry = tarfile.TarInfo(name)
            entry.mode = 0o644
            archive.addfile(entry)
    return packed.getvalue()
