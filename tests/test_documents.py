"""The documents name every command, option of the box and setting that there is."""

import re
from pathlib import Path

import pytest
from esb_cli.app import COMMANDS
from esb_common import settings

ROOT = Path(__file__).parents[1]
OPERATING = (ROOT / "docs/operating.md").read_text()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described(name: str) -> None:
    assert re.search(rf"`\./esb {name}\b", OPERATING)


@pytest.mark.parametrize("name", settings.KNOWN)
def test_every_setting_is_described(name: str) -> None:
    assert f"`{name}`" in OPERATING


def test_no_other_setting_is_described() -> None:
    assert set(re.findall(r"\bESB_[A-Z0-9_]+\b", OPERATING)) <= set(settings.KNOWN)


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=str)
def test_every_link_leads_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text())
    assert not [link for link in links if not (path.parent / link).exists()]


def test_every_test_that_a_promise_names_is_there() -> None:
    named = re.findall(
        r"`((?:tests|builder/tests|services/[\w-]+/tests|cli/tests)[\w/.-]*)`",
        (ROOT / "SPECIFICATION.md").read_text(),
    )
    assert named
    assert not [name for name in named if not (ROOT / name).exists()]
