"""The tunnel's keys: made once, kept, private, and each side's alone."""

from __future__ import annotations

import base64
import re
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from esb_builder import tunnel
from esb_common.errors import BadInput

SIDES = ("gateway", "node")


def key(folder: Path, side: str) -> X25519PrivateKey:
    text = (folder / side / "private.key").read_text()
    return X25519PrivateKey.from_private_bytes(base64.b64decode(text))


def test_each_side_gets_its_key_and_the_others_public_one(tmp_path: Path) -> None:
    assert tunnel.init(tmp_path / "tunnel")
    keys = {side: key(tmp_path / "tunnel", side) for side in SIDES}
    for side, other in (SIDES, reversed(SIDES)):
        text = (tmp_path / "tunnel" / side / "tunnel.conf").read_text()
        assert re.findall(r"^PublicKey = (.*)$", text, re.MULTILINE) == [tunnel.public(keys[other])]
        assert "PrivateKey" not in text
    assert tunnel.public(keys["gateway"]) != tunnel.public(keys["node"])


def test_a_side_may_reach_only_the_others_address(tmp_path: Path) -> None:
    tunnel.init(tmp_path)
    for side, other in (SIDES, reversed(SIDES)):
        address = (tmp_path / other / "address").read_text().partition("/")[0]
        assert f"AllowedIPs = {address}/32\n" in (tmp_path / side / "tunnel.conf").read_text()


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    tunnel.init(tmp_path / "tunnel")
    for side in SIDES:
        assert stat.S_IMODE((tmp_path / "tunnel" / side / "private.key").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "tunnel" / side).stat().st_mode) == 0o700


def test_what_is_there_stays_and_only_what_is_missing_is_made(tmp_path: Path) -> None:
    tunnel.init(tmp_path)
    (tmp_path / "node/peer").write_text("gateway.example:51820\n")
    (tmp_path / "node/address").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert tunnel.init(tmp_path)
    assert (tmp_path / "node/address").read_text() == "198.18.40.2/30\n"
    assert {path: path.read_bytes() for path in before} == before
    assert not tunnel.init(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", base64.b64encode(b"short"), b"\xff" * 44])
def test_a_key_that_is_none_is_refused_and_not_repeated(content: bytes, tmp_path: Path) -> None:
    tunnel.init(tmp_path)
    before = (tmp_path / "gateway/tunnel.conf").read_bytes()
    (tmp_path / "node/private.key").write_bytes(content)
    with pytest.raises(BadInput, match=r"node/private\.key is not a WireGuard key") as caught:
        tunnel.init(tmp_path)
    assert not content or content.decode(errors="replace") not in str(caught.value)
    assert (tmp_path / "gateway/tunnel.conf").read_bytes() == before


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    tunnel.init(tmp_path)
    (tmp_path / "gateway/private.key").chmod(0o644)
    with pytest.raises(BadInput, match="open to others"):
        tunnel.init(tmp_path)


def test_the_folder_is_where_the_setting_says_and_else_in_esbs_home(tmp_path: Path) -> None:
    assert tunnel.place({"ESB_HOME": str(tmp_path)}) == tmp_path / "tunnel"
    assert tunnel.place({"ESB_HOME": "/x", "ESB_TUNNEL_DIR": str(tmp_path)}) == tmp_path
