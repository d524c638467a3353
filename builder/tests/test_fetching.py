"""What fetching steps may know: the machine's configuration, privately, empty where it says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from esb_builder import fetching
from esb_builder.base import Apt
from esb_common.errors import BadInput

APT = Apt(("deb http://m.example/debian bookworm main",), 'Acquire::http::Proxy "http://u:p@proxy:1/";\n')


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "ca.pem").write_bytes(b"certificates\n")
    return {"HOME": str(tmp_path / "home"), "SSL_CERT_FILE": str(tmp_path / "ca.pem")}


def test_all_files_are_written_for_their_owner_alone(environ: dict[str, str], tmp_path: Path) -> None:
    files = fetching.write(tmp_path, environ | {"UV_DEFAULT_INDEX": "https://u:p@index.example/simple"}, APT)
    assert sorted(files) == sorted(fetching.NAMES)
    assert {path.parent for path in files.values()} == {tmp_path / ".esb/build"}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    assert files["esb_apt_sources"].read_text() == "deb http://m.example/debian bookworm main\n"
    assert files["esb_apt_conf"].read_text() == APT.settings
    assert files["esb_build_ca"].read_bytes() == b"certificates\n"
    assert files["esb_index_url"].read_text() == "https://u:p@index.example/simple"


def test_where_the_base_has_mirrors_of_its_own_the_files_are_empty(
    environ: dict[str, str], tmp_path: Path
) -> None:
    fetching.write(tmp_path, environ, APT)
    files = fetching.write(tmp_path, environ, None)
    assert files["esb_apt_sources"].read_bytes() == files["esb_apt_conf"].read_bytes() == b""


def test_a_setting_names_the_trust_before_the_machines_own(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "company.pem").write_bytes(b"company\n")
    assert fetching.trusted(environ | {"ESB_BUILD_CA": str(tmp_path / "company.pem")}) == b"company\n"


def test_a_named_trust_that_is_missing_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="ESB_BUILD_CA names /nowhere"):
        fetching.trusted(environ | {"ESB_BUILD_CA": "/nowhere"})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (".config/uv/uv.toml", 'index-url = "https://one.example/"\n'),
        (
            ".config/uv/uv.toml",
            '[[index]]\nurl = "https://no.example/"\n'
            '[[index]]\nurl = "https://one.example/"\ndefault = true\n',
        ),
        (".config/pip/pip.conf", "[global]\nindex-url = https://one.example/\n"),
        (".pip/pip.conf", "[global]\nindex-url = https://one.example/\n"),
    ],
)
def test_the_index_is_the_one_that_uv_or_pip_is_configured_with(
    path: str, content: str, environ: dict[str, str]
) -> None:
    file = Path(environ["HOME"], path)
    file.parent.mkdir(parents=True)
    file.write_text(content)
    assert fetching.index_url(environ) == "https://one.example/"
    assert fetching.index_url(environ | {"PIP_INDEX_URL": "https://two.example/"}) == "https://two.example/"
