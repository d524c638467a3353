"""CPython for the images: this machine's prefix, packed into the store, so that a lock can name it.

The pack is a tar of ``/usr/local`` with one instant for all times and no trace of where it was,
so the same prefix gives the same bytes. It is no one's publication: another machine gets it from a
store that has it (a bundle, or the mirror ``store``), or packs its own if that is the very same build.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from esb_builder import oci, python_prefix
from esb_builder.lock.model import Pin
from esb_builder.sources.machine import Machine
from esb_builder.store import Store
from esb_builder.voice import Voice


def pack(machine: Machine, store: Store, voice: Voice) -> Pin:
    """Pack the CPython 3.12 of this machine into the store. NotPossibleHere where it has none."""
    prefix = python_prefix.find(machine.environ, Path(sys.base_prefix), sys.version_info[:2])
    version = prefix.version.split()[0]
    with (
        tempfile.TemporaryDirectory(prefix="esb-python-") as scratch,
        voice.step(f"pack CPython {version}"),
    ):
        layer = Path(scratch, "python.tar")
        python_prefix.pack(prefix, layer, machine.environ)
        blob = store.add(layer)
    return Pin(version, blob.sha256, blob.size, f"cpython-{version}-{oci.architecture()}.tar")
