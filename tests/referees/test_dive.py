"""dive on every image: next to nothing that one layer writes is written again by another."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from esb_builder.plan import FAMILY
from referees.conftest import HERE, Referees

pytestmark = [pytest.mark.engine, pytest.mark.network]


@pytest.mark.parametrize("image", FAMILY)
def test_an_image_wastes_next_to_nothing(
    image: str, referees: Referees, archives: Mapping[str, Path]
) -> None:
    config = f"--ci-config={HERE / 'dive.yaml'}"
    done = referees.call("dive", "--ci", config, "--source=docker-archive", archives[image])
    assert (done.code, "Failed:0" in done.stdout) == (0, True), done.stdout + done.stderr
