"""Dockerfiles that are wrong in one respect fail their row, with the line to mend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import families
import pytest
from authorities import NOW
from esb_builder import verify
from esb_builder.archive import Archive
from esb_builder.plan import FAMILY
from esb_builder.verify import Sources
from esb_builder.verify.sources import IGNORE
from esb_common.errors import BadInput
from mutations.recipes import MUTATIONS, Change


@contextmanager
def right_family(place: Path) -> Iterator[dict[str, verify.Subject]]:
    drafts = families.family()
    with Archive(families.write(place, "esb-os-base", drafts["esb-os-base"])) as archive:
        base = verify.subjects([archive])["esb-os-base"]
        yield {name: verify.Subject(name, base.image, base.tree) for name in FAMILY}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, verify.Subject]]:
    """Every name of the family, each the same image: only Dockerfiles are judged here."""
    with right_family(tmp_path_factory.mktemp("family")) as found:
        yield found


@pytest.mark.parametrize(("row", "image", "change", "said"), MUTATIONS)
def test_a_wrong_dockerfile_fails_its_row_at_its_line(
    row: str, image: str, change: Change, said: str, family: dict[str, verify.Subject]
) -> None:
    sources = change.sources()
    verdicts = verify.judge(family, [image], NOW, sources)
    (verdict,) = [one for one in verdicts if one.row == row]
    found = [one for one in verdict.findings if one.line]
    assert verdict.status == "fail"
    assert any(said in one.what for one in found), [one.what for one in found]
    assert all(one.where in (sources.recipes[image].path, IGNORE) and one.mend for one in found)


def test_the_line_is_where_the_instruction_begins(family: dict[str, verify.Subject]) -> None:
    (mutation,) = [one for one in MUTATIONS if "COPY . /app" in one[2].new]
    sources = mutation[2].sources()
    verdicts = verify.judge(family, ["esb-gateway"], NOW, sources)
    (finding,) = next(one.findings for one in verdicts if one.row == "S4")
    lines = (Path(families.__file__).parents[1] / finding.where).read_text().splitlines()
    assert lines[finding.line - 1].startswith("COPY services/gateway/src")
    assert finding.place == f"services/gateway/Dockerfile:{finding.line}"


def test_what_is_no_dockerfile_is_refused() -> None:
    with pytest.raises(BadInput, match="services/gateway/Dockerfile: line 1"):
        Sources.of({"services/gateway/Dockerfile": "==\n"}, "")


def test_a_checkout_without_its_dockerfiles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        Sources.read(tmp_path)
