"""The node's settings from an environment."""

from __future__ import annotations

from pathlib import Path

import pytest
from esb_common.errors import Misuse, NotPossibleHere
from esb_node.app import choose_driver
from esb_node.drivers.process.driver import ProcessDriver
from esb_node.settings import node_settings


def test_a_roots_node_serves_the_gateways_user_and_another_only_its_own() -> None:
    environ = {"ESB_UID": "10001", "ESB_GID": "10002"}
    root = node_settings(environ, 0, 0)
    assert (root.gateway_uid, root.gateway_gid) == (10001, 10002)
    somebody = node_settings(environ, 1000, 1000)
    assert (somebody.gateway_uid, somebody.gateway_gid) == (1000, None)


def test_wrong_settings_are_refused() -> None:
    for environ in (
        {"ESB_MODE": "cloud"},
        {"ESB_MODE": "memory"},
        {"ESB_UID": "me"},
        {"ESB_MOOD": "embedded"},
    ):
        with pytest.raises(Misuse):
            node_settings(environ, 0, 0)


def test_embedded_mode_names_what_is_missing_and_never_gives_up_isolation_by_itself(tmp_path: Path) -> None:
    environ = {
        "ESB_MODE": "embedded",
        "ESB_HOME": str(tmp_path),
        "ESB_PYTHON_PREFIX": str(tmp_path / "python"),
    }
    with pytest.raises(NotPossibleHere, match=r"no Python 3\.12"):
        choose_driver(node_settings(environ, 0, 0))
    (tmp_path / "python/bin").mkdir(parents=True)
    (tmp_path / "python/bin/python3.12").touch()
    with pytest.raises(NotPossibleHere, match="no runtime client"):
        choose_driver(node_settings(environ, 0, 0))
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime/bootstrap.py").touch()
    driver = choose_driver(node_settings(environ, 0, 0))
    assert isinstance(driver, ProcessDriver)
    assert driver.isolation in ("namespaces", "user-namespaces")
    without = choose_driver(node_settings(environ | {"ESB_NO_ISOLATION": "1"}, 0, 0))
    assert (without.isolation, without.network) == ("none", "host")
