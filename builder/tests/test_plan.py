"""Keys: what an image depends on decides, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from esb_builder import plan
from esb_builder.plan import FAMILY, Ingredients, Step
from esb_common.errors import Misuse

ROOT = Path(__file__).parents[2]
INGREDIENTS = Ingredients(
    {"ESB_ROOT_CA_SHA256": "1" * 64, "ESB_UID": "10001", "ESB_GID": "10001", "SOURCE_DATE_EPOCH": "1"},
    {"debian": "d", "python": "p"},
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    ignored = shutil.ignore_patterns("__pycache__", "tests")
    shutil.copytree(ROOT / "services", tmp_path / "services", ignore=ignored)
    return tmp_path


def keys(root: Path, ingredients: Ingredients = INGREDIENTS) -> dict[str, str]:
    return {step.image.name: step.key for step in steps(root, ingredients)}


def steps(root: Path, ingredients: Ingredients = INGREDIENTS) -> tuple[Step, ...]:
    return plan.plan(root, plan.chosen(()), ingredients)


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    return {name.removeprefix("esb-") for name in before if before[name] != after[name]}


ALL = {"os-base", "python-base", "gateway", "runtime-node", "lambda-python"}


@pytest.mark.parametrize(
    ("path", "touched"),
    [
        ("services/gateway/src/esb_gateway/app.py", {"gateway"}),
        ("services/gateway/requirements.lock", {"gateway"}),
        ("services/worker/src/bootstrap.py", {"lambda-python"}),
        ("services/common/src/esb_common/ids.py", {"gateway", "runtime-node"}),
        ("services/common/Dockerfile.python-base", ALL - {"os-base"}),
        ("services/common/image/root-ca.sh", ALL),
        ("services/common/image/uv.lock", ALL - {"os-base", "python-base"}),
        ("services/gateway/pyproject.toml", {"gateway"}),
    ],
)
def test_a_change_reaches_exactly_what_takes_the_file(path: str, touched: set[str], checkout: Path) -> None:
    before = keys(checkout)
    with (checkout / path).open("a") as out:
        out.write("\n# changed\n")
    assert changed(before, keys(checkout)) == touched


def test_what_no_image_takes_changes_no_key(checkout: Path) -> None:
    """S7: another service's tests, byte code, files beside."""
    before = keys(checkout)
    (checkout / "services/gateway/tests").mkdir()
    (checkout / "services/gateway/tests/test_new.py").write_text("x = 1\n")
    (checkout / "services/gateway/src/esb_gateway/__pycache__").mkdir()
    (checkout / "services/gateway/src/esb_gateway/__pycache__/app.cpython-312.pyc").write_bytes(b"1")
    (checkout / "README.md").write_text("hello\n")
    assert keys(checkout) == before


def test_time_and_permissions_of_the_checkout_do_not_matter_but_being_a_program_does(checkout: Path) -> None:
    before = keys(checkout)
    script = checkout / "services/gateway/entrypoint.sh"
    script.touch()
    script.chmod(0o775)
    assert keys(checkout) == before
    script.chmod(0o644)
    assert changed(before, keys(checkout)) == {"gateway"}


@pytest.mark.parametrize(
    ("name", "touched"),
    [
        ("ESB_ROOT_CA_SHA256", ALL),
        ("ESB_UID", {"gateway"}),
        ("ESB_GID", {"gateway"}),
        ("SOURCE_DATE_EPOCH", ALL),
    ],
)
def test_an_argument_reaches_what_declares_it_and_all_above(name: str, touched: set[str]) -> None:
    other = Ingredients({**INGREDIENTS.arguments, name: "2"}, INGREDIENTS.contexts)
    assert changed(keys(ROOT), keys(ROOT, other)) == touched


def test_contexts_reach_what_stands_on_them() -> None:
    debian = Ingredients(INGREDIENTS.arguments, {"debian": "other", "python": "p"})
    python = Ingredients(INGREDIENTS.arguments, {"debian": "d", "python": "other"})
    assert changed(keys(ROOT), keys(ROOT, debian)) == ALL
    assert changed(keys(ROOT), keys(ROOT, python)) == ALL - {"os-base"}


def test_a_plan_names_parents_before_children() -> None:
    names = [image.name for image in plan.chosen(["gateway"])]
    assert names == ["esb-os-base", "esb-python-base", "esb-gateway"]
    assert [image.name for image in plan.chosen(())] == list(plan.PLAIN)
    assert [image.name for image in plan.chosen(FAMILY)] == list(FAMILY)


def test_an_unknown_image_is_misuse_and_the_known_are_named() -> None:
    with pytest.raises(Misuse, match="there is no image nginx"):
        plan.chosen(["nginx"])


def test_a_missing_source_names_it(checkout: Path) -> None:
    (checkout / "services/gateway/user.sh").unlink()
    with pytest.raises(Misuse, match=r"services/gateway/user\.sh is not in the checkout"):
        keys(checkout)


def test_a_difference_is_told_in_words_and_long_ones_are_cut() -> None:
    was = {"a": "1", "b": "1", "c": "1", "d": "1", "e": "1"}
    assert plan.difference(was, was) == ""
    assert plan.difference(was, {**was, "a": "2"}) == "a changed"
    assert plan.difference({"a": "1"}, {"b": "1"}) == "a is gone, b is new"
    assert plan.difference(was, dict.fromkeys(was, "2")) == "a changed, b changed, c changed, 2 more"
