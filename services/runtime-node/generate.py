"""Generate the Python messages of containerd's API from our own description of its wire.

Run it after a change in ``contracts/containerd``: ``.esb/test/bin/python services/runtime-node/generate.py``.
Only messages are generated; calls are made by name (see ``drivers/containerd/client.py``). The output is
committed, so that building and running need no compiler, and a test compares it byte for byte.
"""

from __future__ import annotations

import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc  # type: ignore[import-untyped]  # the compiler comes without types

HERE = Path(__file__).resolve().parent
CONTRACTS = HERE.parent.parent / "contracts"
WIRE = HERE / "src/esb_node/drivers/containerd/wire"
PACKAGE = "esb_node.drivers.containerd.wire"


def generate() -> dict[str, str]:
    """File names under :data:`WIRE` and their contents. SystemExit where a description does not compile."""
    with tempfile.TemporaryDirectory() as folder:
        _compile(folder)
        made = sorted(Path(folder, "containerd").glob("*_pb2.py*"))
        return {file.name: _in_our_package(file.read_text()) for file in made}


def _compile(folder: str) -> None:
    sources = [str(path.relative_to(CONTRACTS)) for path in sorted(CONTRACTS.glob("containerd/*.proto"))]
    well_known = resources.files("grpc_tools") / "_proto"
    arguments = [
        "protoc",
        f"-I{CONTRACTS}",
        f"-I{well_known}",
        f"--python_out={folder}",
        f"--pyi_out={folder}",
    ]
    if protoc.main([*arguments, *sources]) != 0:
        sys.exit("a description in contracts/containerd does not compile")


def _in_our_package(text: str) -> str:
    """The compiler derives imports from file paths, ours live in a package; and mypy wants whole types."""
    text = re.sub(r"^from containerd import", f"from {PACKAGE} import", text, flags=re.MULTILINE)
    return text.replace(", _Mapping]", ", _Mapping[str, object]]")


if __name__ == "__main__":
    for name, content in generate().items():
        (WIRE / name).write_text(content)
