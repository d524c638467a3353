"""A folder whose path is short enough for sockets (108 bytes), and the real programs or why not."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from containerd_here import images_here, needs, programs_here
from esb_common.errors import NotPossibleHere
from esb_node.drivers.containerd.programs import Programs


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="esb-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def programs() -> Programs:
    try:
        return programs_here()
    except NotPossibleHere as lacking:
        pytest.skip(lacking.fact)


@pytest.fixture(scope="session")
def images() -> Path:
    if lacking := needs():
        pytest.skip(lacking)
    return images_here()
