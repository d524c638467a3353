"""The whole contract suite once more as an ordinary user: user namespaces, and no isolation at all.

Root's home, where the interpreter may lie, is closed to that user, so the suite runs in the view that
``esb_node.sandbox`` makes: the same program that starts the gateway, with the same rules.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOMEBODY = 1000


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="it needs root to become somebody else")
def test_the_contract_holds_without_root(tmp_path: Path, runtime: Path) -> None:
    folder = tmp_path / "rootless"
    folder.mkdir()
    os.chown(folder, SOMEBODY, SOMEBODY)
    seen = [str(ROOT), sys.base_prefix, str(runtime)]
    binds = [{"source": path, "at": path} for path in dict.fromkeys(seen)]
    binds.append({"source": str(folder), "at": str(folder), "writable": True})  # type: ignore[dict-item]
    # Whole, as a user's login has it: the kernel lets nobody mount a /proc who does not see all of one.
    binds.append({"source": "/proc", "at": "/proc", "writable": True})  # type: ignore[dict-item]
    spec = tmp_path / "spec.json"
    spec.write_text(json.dumps({"uid": SOMEBODY, "gid": SOMEBODY, "binds": binds}))
    inside = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/tests"]
    done = subprocess.run(
        [sys.executable, "-m", "esb_node.sandbox", str(spec), "--", *inside, "tests/contract"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": os.pathsep.join(
                str(ROOT / "services" / one / "src") for one in ("common", "runtime-node")
            ),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
