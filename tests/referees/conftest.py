"""Referees: programs of others that judge Dockerfiles, images and bills, in an environment of their own.

They come from the package index by hash. Where it cannot be reached the tests are skipped, and say so;
a lock that does not install is a failure.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import stand_ins
from esb_builder import build, ca, engine, plan, run
from esb_builder.voice import Recorded
from esb_cli.environments import Environments
from esb_common.errors import Broken, NotPossibleHere
from esb_common.ids import Digest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = Path(os.environ.get("ESB_HOME", ROOT / ".esb/home"))
LONGEST_S = 300.0


@dataclass(frozen=True)
class Referees:
    """The programs in ``bin``, each started with a clean environment that keeps them off the network."""

    bin: Path

    def call(self, program: str, *args: str | Path, **environ: str) -> run.Completed:
        """Run one to its end; its exit code is a judgement."""
        quiet = {"SYFT_CHECK_FOR_APP_UPDATE": "false", "CI": "true", "HOME": "/nonexistent"}
        clean = run.clean(os.environ) | quiet | environ
        return run.run((self.bin / program, *args), environ=clean, cwd=ROOT, check=False, timeout_s=LONGEST_S)

    def bills(self, *paths: Path) -> dict[Path, list[str]]:
        """What the formats' validators say."""
        done = self.call("python", HERE / "bills.py", *paths)
        assert done.code == 0, done.stderr
        return {Path(name): found for name, found in json.loads(done.stdout).items()}


@pytest.fixture(scope="session")
def referees() -> Referees:
    environments = Environments(ROOT, os.environ, Recorded())
    try:
        return Referees(environments.environment("referees") / "bin")
    except Broken:
        if reaches_the_index(environments):
            raise
        pytest.skip("the package index, which the referees come from, cannot be reached")


def reaches_the_index(environments: Environments) -> bool:
    """Whether the index answers for a package that it surely has."""
    args = ("pip", "compile", "--quiet", "--no-cache", "--no-deps", "-")
    environ = environments.uv_environ()
    return run.run((environments.uv, *args), environ=environ, stdin=b"pip\n", check=False).code == 0


@dataclass(frozen=True)
class Built:
    """The family of this checkout in an engine; Firecracker's files are stand-ins. Ids by name."""

    engine: engine.Engine
    shop: build.Workshop
    ids: Mapping[str, Digest]


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    environ = {**os.environ, "ESB_HOME": str(HOME)}
    voice = Recorded()
    try:
        found = engine.ensure(engine.Place.from_environ(environ), voice)
    except NotPossibleHere as error:
        pytest.skip(error.fact)
    ca.init(ca.Folders.from_environ(environ))
    environ["ESB_ARTEFACTS"] = str(stand_ins.write(tmp_path_factory.mktemp("stand-ins")))
    shop = build.Workshop.from_environ(ROOT, found, environ, voice)
    return Built(found, shop, {one.name: one.id for one in build.build(shop, list(plan.FAMILY))})


@pytest.fixture(scope="session")
def archives(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """Each built image as an archive of its own."""
    place = tmp_path_factory.mktemp("archives")
    found = {}
    for name, image in built.ids.items():
        found[name] = place / f"{name.replace(':', '-')}.tar"
        built.shop.shelf.archive(found[name], {plan.FAMILY[name].reference: image})
    return found


def exceptions(kind: str) -> list[dict[str, Any]]:
    """The exceptions of one kind; none without its reason."""
    listed: list[dict[str, Any]] = tomllib.loads((HERE / "exceptions.toml").read_text())[kind]
    assert all(len(one["reason"]) > 20 for one in listed)
    return listed
