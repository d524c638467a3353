"""hadolint on every Dockerfile: what it finds is exactly what is listed, with reasons."""

import json

import pytest
from esb_builder.plan import FAMILY
from referees.conftest import ROOT, Referees, exceptions

pytestmark = pytest.mark.network

DOCKERFILES = sorted({image.dockerfile for image in FAMILY.values()})


def test_every_dockerfile_is_judged() -> None:
    excepted = {file for one in exceptions("hadolint") for file in one["files"]}
    assert excepted <= set(DOCKERFILES)
    assert {str(path.relative_to(ROOT)) for path in ROOT.glob("services/*/Dockerfile*")} == set(DOCKERFILES)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_hadolint_finds_what_is_listed_with_reasons_and_nothing_else(path: str, referees: Referees) -> None:
    done = referees.call("hadolint", "--no-fail", "--format", "json", "--config", "/dev/null", path)
    found = {one["code"] for one in json.loads(done.stdout)}
    assert found == {one["code"] for one in exceptions("hadolint") if path in one["files"]}
