from pathlib import Path

import pytest
from esb_builder import dockerfile
from esb_builder.lock.recipes import BASE, asked_in, pinned_in, read, wheel_files
from esb_common.errors import BadInput

ROOT = Path(__file__).parents[3]


def test_the_checkout_says_what_it_asks_for() -> None:
    recipes = read(ROOT)
    assert {"os-base", "python-base", "runtime-node"} <= recipes.asked.keys()
    assert (recipes.parents["os-base"], recipes.parents["python-base"]) == (BASE, "os-base")
    assert recipes.parents["runtime-node"] == "python-base"
    assert "tzdata" in recipes.asked["os-base"]
    assert {"uv", "gateway", "runtime-node", "worker"} <= recipes.requirements.keys()
    assert recipes.images.keys() == {"debian", "python"}
    assert recipes.of["esb-gateway"].step is None
    assert recipes.of["esb-gateway"].wheels == {"wheels": "gateway", "uv-wheels": "uv"}


def test_packages_are_the_arguments_of_the_step() -> None:
    parsed = dockerfile.parse(
        "FROM a\nRUN --mount=type=bind,target=/run/debs.sh \\\n sh /run/debs.sh tzdata \\\n  libstdc++6\n"
    )
    assert asked_in(parsed, "Dockerfile") == ("libstdc++6", "tzdata")
    with pytest.raises(BadInput, match="no package"):
        asked_in(dockerfile.parse("FROM a\nRUN sh /run/debs.sh\n"), "Dockerfile")


def test_images_are_pinned_by_the_argument_that_a_stage_starts_from() -> None:
    digest = "sha256:" + "a" * 64
    parsed = dockerfile.parse(
        f"ARG DEBIAN=debian:bookworm-slim@{digest}\nFROM ${{DEBIAN}} AS debian\nFROM scratch AS debs\n"
    )
    assert pinned_in(parsed) == {"debian": ("debian:bookworm-slim", digest)}


def test_a_stage_of_wheels_without_its_file_is_refused() -> None:
    with pytest.raises(BadInput, match="takes 0 files"):
        wheel_files(dockerfile.parse("FROM scratch AS wheels\n"), "Dockerfile")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"Dockerfile\.os-base is not in this checkout"):
        read(tmp_path)
