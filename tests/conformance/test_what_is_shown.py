"""``esb verify --conformance`` on the real family: every row that the tests of this session showed holds."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conformance.conftest import ROOT, Workbench
from conformance.recording import Recording
from esb_builder import plan
from esb_builder.verify.conformance import FACTS, NOT_SHOWN, ROWS
from esb_common.ids import Digest

pytestmark = pytest.mark.engine

MOST_KIB = 300 << 10
PEAK = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as out:
    out.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


@pytest.fixture(scope="module")
def archive(bench: Workbench, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The family as this session built it, out of the store: the engine's tags may have moved meanwhile."""
    path = tmp_path_factory.mktemp("family") / "family.tar"
    bench.shop.shelf.archive(
        path, {plan.FAMILY[name].reference: Digest(one) for name, one in bench.ids.items()}
    )
    return path


def test_every_row_that_was_shown_holds(archive: Path, bench: Workbench, recording: Recording) -> None:
    command: list[str | Path] = [ROOT / "esb", "verify", "--conformance", "--json", archive]
    done = subprocess.run(command, env=bench.shop.environ, capture_output=True, text=True, check=False)
    assert done.returncode in (0, NOT_SHOWN), done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["images"] == bench.ids
    rows = {row["row"]: row for row in told["rows"]}
    assert tuple(rows) == ROWS
    shown = {row for row in ROWS if all((row, fact) in recording.passed for fact in FACTS.get(row, ()))}
    assert {row: rows[row] for row in shown if rows[row]["status"] != "pass"} == {}
    assert shown >= set(ROWS) - FACTS.keys()
    assert [row["row"] for row in told["rows"] if row["status"] == "fail"] == []
    assert {one["status"] for one in told["beyond"]} == {"pass"}
    assert rows["S19"]["note"] == "stand-ins"


def test_judging_the_family_takes_little_memory_and_time(
    archive: Path, bench: Workbench, tmp_path: Path
) -> None:
    """At most 300 MiB; the time is told, for this machine is not alone with us."""
    began = time.monotonic()
    words: list[str | Path] = ["-c", PEAK, tmp_path / "peak", ROOT / "esb", "verify", archive]
    subprocess.run([sys.executable, *words], env=bench.shop.environ, capture_output=True, check=True)
    took, peak = time.monotonic() - began, int((tmp_path / "peak").read_text())
    print(f"esb verify of {len(bench.ids)} images: {took:.1f} s, peak {peak >> 10} MiB")
    assert peak <= MOST_KIB
