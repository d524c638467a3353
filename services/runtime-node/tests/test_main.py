"""``python -m esb_node``, as a box starts it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

SOURCES = [str(Path(__file__).parents[2] / one / "src") for one in ("common", "runtime-node")]


def test_what_a_node_makes_can_be_read_whatever_the_umask_it_got(tmp_path: Path) -> None:
    # This driver refuses at once where nothing says what Firecracker there is.
    environ = {"ESB_MODE": "firecracker", "ESB_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "esb_node"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(SOURCES), **environ},
        umask=0o077,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert stat.S_IMODE((tmp_path / "box/node").stat().st_mode) == 0o755
