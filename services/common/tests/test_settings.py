from pathlib import Path

import pytest
from esb_common import settings
from esb_common.errors import Misuse


def test_a_misspelt_setting_is_an_error_that_names_the_right_one() -> None:
    with pytest.raises(Misuse) as caught:
        settings.refuse_unknown({"ESB_MAX_WORKER": "4"})
    assert caught.value.fact == "unknown setting ESB_MAX_WORKER"
    assert "ESB_MAX_WORKERS" in caught.value.hint


def test_known_settings_and_other_variables_pass() -> None:
    settings.refuse_unknown({"ESB_PORT": "1", "HOME": "/", "ESBOAT": "x"})


@pytest.mark.parametrize("value", ["eight", "0", "70000", "8443.5"])
def test_a_port_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(Misuse, match="ESB_PORT"):
        settings.number({"ESB_PORT": value}, "ESB_PORT", 8443, least=1, most=65535)


def test_an_empty_setting_means_the_default() -> None:
    assert settings.number({"ESB_PORT": ""}, "ESB_PORT", 8443) == 8443


def test_a_choice_outside_the_list_names_the_list() -> None:
    with pytest.raises(Misuse) as caught:
        settings.choice({"ESB_MODE": "podman"}, "ESB_MODE", "containerd", ("containerd", "embedded"))
    assert caught.value.hint == "one of: containerd, embedded"


def test_a_flag_is_one_or_nothing() -> None:
    assert settings.flag({"ESB_NO_ISOLATION": "1"}, "ESB_NO_ISOLATION")
    assert not settings.flag({}, "ESB_NO_ISOLATION")
    with pytest.raises(Misuse):
        settings.flag({"ESB_NO_ISOLATION": "yes"}, "ESB_NO_ISOLATION")


def test_a_folder_is_absolute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert settings.folder({}, "ESB_HOME", "~/.esb") == Path("/home/somebody/.esb")
    assert settings.folder({"ESB_HOME": "x"}, "ESB_HOME", "~/.esb").is_absolute()


def test_a_user_without_a_home_is_told_which_setting_is_missing() -> None:
    with pytest.raises(Misuse, match="ESB_HOME is not set, and this user has no home folder"):
        settings.folder({}, "ESB_HOME", "~nobody-of-that-name/.esb")
