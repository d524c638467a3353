"""The box's credentials: made once, kept private, changed whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from esb_cli import credentials
from esb_cli.box.layout import Layout, layout
from esb_common.credentials import sha256_of
from esb_common.errors import BadInput, Misuse


def box(tmp_path: Path, **environ: str) -> Layout:
    own = {"ESB_UID": str(os.getuid() or 10001), "ESB_GID": str(os.getgid() or 10001)}
    return layout({"ESB_HOME": str(tmp_path)} | own | environ)


def test_they_are_made_once(tmp_path: Path) -> None:
    first = credentials.ready(box(tmp_path))
    assert credentials.ready(box(tmp_path)) == first
    assert credentials.load(box(tmp_path)) == first
    assert len(first.access_key_id) == 20
    assert len(first.secret_access_key) == 40
    assert first.secret_access_key not in repr(first)


def test_two_boxes_have_two_secrets(tmp_path: Path) -> None:
    assert credentials.ready(box(tmp_path / "a")) != credentials.ready(box(tmp_path / "b"))


def test_the_gateways_user_alone_may_read_them(tmp_path: Path) -> None:
    path = tmp_path / "credentials/credentials.json"
    made = credentials.ready(box(tmp_path))
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    assert credentials.ready(box(tmp_path)) == made
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_another_user_of_the_gateway_gets_them(tmp_path: Path) -> None:
    made = credentials.ready(box(tmp_path, ESB_UID="4242", ESB_GID="4243"))
    assert credentials.ready(box(tmp_path, ESB_UID="4244", ESB_GID="4245")) == made
    assert (tmp_path / "credentials/credentials.json").stat().st_uid == 4244


def test_a_key_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    place = box(tmp_path)
    credentials.ready(place)
    text = credentials.add_key(place, "till-7", 5, 10)
    (key,) = credentials.load(place).api_keys
    assert (key.name, key.sha256, key.calls_per_s, key.burst) == ("till-7", sha256_of(text), 5, 10)
    assert text not in (tmp_path / "credentials/credentials.json").read_text()
    credentials.remove_key(place, "till-7")
    assert credentials.load(place).api_keys == ()


@pytest.mark.parametrize(("name", "rate", "burst"), [("a b", 0, 0), ("", 0, 0), ("ok", -1, 1), ("ok", 1, 0)])
def test_a_key_that_cannot_be_meant_is_refused(tmp_path: Path, name: str, rate: int, burst: int) -> None:
    place = box(tmp_path)
    made = credentials.ready(place)
    with pytest.raises(Misuse):
        credentials.add_key(place, name, rate, burst)
    assert credentials.load(place) == made


def test_a_name_is_given_once_and_removed_once(tmp_path: Path) -> None:
    place = box(tmp_path)
    credentials.ready(place)
    credentials.add_key(place, "one", 0, 0)
    with pytest.raises(Misuse, match="already"):
        credentials.add_key(place, "one", 0, 0)
    credentials.remove_key(place, "one")
    with pytest.raises(Misuse, match="no API key one"):
        credentials.remove_key(place, "one")


def test_what_is_missing_or_broken_says_the_mend(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="esb up makes it"):
        credentials.load(box(tmp_path))
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials/credentials.json").write_text('{"secret_access_key": "hunter2"}')
    for work in (credentials.load, credentials.ready):
        with pytest.raises(BadInput, match="holds no credentials") as caught:
            work(box(tmp_path))
        assert "hunter2" not in str(caught.value)


def test_a_box_without_authentication_is_not_opened_unasked(tmp_path: Path) -> None:
    strangers = {"ESB_NO_AUTHENTICATION": "1", "ESB_LISTEN": "0.0.0.0"}
    with pytest.raises(Misuse, match="not be authenticated"):
        box(tmp_path, **strangers)
    environ = {"ESB_HOME": str(tmp_path)} | strangers
    assert layout(environ, open_=True).open
