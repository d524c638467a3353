"""container-structure-test on every image: files, users, settings and programs, as ``structure/`` says."""

import json

import pytest
from esb_builder.plan import FAMILY
from referees.conftest import HERE, Built, Referees

pytestmark = [pytest.mark.engine, pytest.mark.network]

FOLDER = HERE / "structure"


def test_every_image_has_its_list() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {name.replace(":", "-") for name in FAMILY}


@pytest.mark.parametrize("image", FAMILY)
def test_an_image_is_as_its_list_says(image: str, referees: Referees, built: Built) -> None:
    config = FOLDER / f"{image.replace(':', '-')}.yaml"
    reference = FAMILY[image].reference
    done = referees.call(
        "container-structure-test",
        "test",
        f"--image={reference}",
        f"--config={config}",
        "--output=json",
        **built.engine.environ,
    )
    report = json.loads(done.stdout)
    assert [one for one in report["Results"] if not one["Pass"]] == []
    assert report["Pass"] == report["Total"] > 5
