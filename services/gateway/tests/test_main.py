"""The real process: settings, certificates, signals, exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from callers import write_credentials
from esb_common.errors import BadInput, EsbError, Misuse
from esb_gateway.hands.tls import server_context
from esb_gateway.settings import Settings

SOURCES = [Path(__file__).parents[1] / "src", Path(__file__).parents[2] / "common" / "src"]


def environ(folder: Path, certificates: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": ":".join(map(str, SOURCES)),
        "ESB_DATA_DIR": str(folder / "data"),
        "ESB_RUN_DIR": str(folder / "run"),
        "ESB_CERT_DIR": str(certificates),
        "ESB_CREDENTIALS_DIR": str(write_credentials(folder / "credentials")),
        "ESB_PORT": "0",
        "ESB_MODE": "embedded",
        **more,
    }


@contextlib.contextmanager
def gateway(environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "esb_gateway"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str], event: str) -> dict[str, Any]:
    """The first log line with ``event``."""
    assert process.stderr is not None
    for line in process.stderr:
        facts: dict[str, Any] = json.loads(line)
        if facts["event"] == event:
            return facts
    raise AssertionError(f"never said: {event}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_zero(tmp_path: Path, certificates: Path, number: int) -> None:
    with gateway(environ(tmp_path, certificates)) as process:
        said(process, "listening")
        process.send_signal(number)
        assert process.wait(20) == 0


def test_two_gateways_do_not_share_a_state(tmp_path: Path, certificates: Path) -> None:
    with gateway(environ(tmp_path, certificates)) as first:
        said(first, "listening")
        with gateway(environ(tmp_path, certificates)) as second:
            _, errors = second.communicate(timeout=20)
            assert second.returncode == 1
            assert "another gateway" in errors


def test_a_taken_port_is_a_clear_error(tmp_path: Path, certificates: Path) -> None:
    with gateway(environ(tmp_path, certificates)) as first:
        port = str(said(first, "listening")["port"])
        with gateway(environ(tmp_path / "other", certificates, ESB_PORT=port)) as second:
            _, errors = second.communicate(timeout=20)
            assert second.returncode == 3
            assert f"cannot listen on 127.0.0.1 port {port}" in errors
            assert "Traceback" not in errors


def test_after_kill_the_state_opens_again(tmp_path: Path, certificates: Path) -> None:
    for _ in range(2):
        with gateway(environ(tmp_path, certificates)) as process:
            said(process, "listening")
            process.kill()
            assert process.wait(20) == -signal.SIGKILL


# --- settings and certificates ------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ESB_LISTEN", "localhost", "not an IP address"),
        ("ESB_PORT", "70000", "outside"),
        ("ESB_PORT", "https", "not a whole number"),
        ("ESB_MODE", "cloud", "one of"),
        ("ESB_REGION", "Mars", "region"),
        ("ESB_ACCOUNT", "12", "12 digits"),
        ("ESB_MAX_WORKERS", "0", "unset"),
        ("ESB_MAX_WORKER", "1", "did you mean ESB_MAX_WORKERS"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused(name: str, value: str, says: str) -> None:
    with pytest.raises(Misuse) as caught:
        Settings.read({"ESB_MODE": "embedded", name: value}, 1000)
    assert says in str(caught.value)


EVERYWHERE = {"ESB_LISTEN": "0.0.0.0"}
IN_CONTAINER = EVERYWHERE | {"ESB_PUBLISHED": "127.0.0.1"}
UNKNOWN = {"ESB_NO_AUTHENTICATION": "1"}


@pytest.mark.parametrize(
    "environ",
    [
        EVERYWHERE,
        IN_CONTAINER | UNKNOWN,
        UNKNOWN,
        {"ESB_LISTEN": "::1"} | UNKNOWN,
        EVERYWHERE | UNKNOWN | {"ESB_OPEN": "1"},
    ],
)
def test_it_listens_where_it_is_told(environ: dict[str, str]) -> None:
    settings = Settings.read(environ, 1000)
    assert settings.listen == environ.get("ESB_LISTEN", "127.0.0.1")
    assert settings.authenticated == ("ESB_NO_AUTHENTICATION" not in environ)


@pytest.mark.parametrize(
    "environ", [EVERYWHERE | UNKNOWN, IN_CONTAINER | UNKNOWN | {"ESB_PUBLISHED": "192.0.2.1"}]
)
def test_strangers_of_other_machines_are_never_let_in_unasked(environ: dict[str, str]) -> None:
    with pytest.raises(Misuse, match="not be authenticated"):
        Settings.read(environ, 1000)


def test_plain_http_is_off_and_stays_on_this_machine() -> None:
    assert Settings.read(EVERYWHERE, 1000).http_port is None
    plain = {"ESB_HTTP_PORT": "8080"}
    assert Settings.read(plain, 1000).http_port == 8080
    assert Settings.read(EVERYWHERE | plain, 1000).http_listen == "127.0.0.1"
    assert Settings.read(IN_CONTAINER | plain, 1000).http_listen == "0.0.0.0"


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"schema": 1, "access_key_id": "hunter2hunter2hunter2"}']
)
def test_without_credentials_it_does_not_start(
    tmp_path: Path, certificates: Path, content: str | None
) -> None:
    told = environ(tmp_path, certificates)
    path = Path(told["ESB_CREDENTIALS_DIR"]) / "credentials.json"
    path.unlink() if content is None else path.write_text(content)
    with gateway(told) as process:
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 5
    assert str(path) in errors
    assert "hunter2" not in errors


def test_half_of_the_memory_is_for_workers_unless_they_are_counted() -> None:
    assert Settings.read({}, 1000).limits.budget == 500
    assert Settings.read({"ESB_MAX_WORKERS": "3"}, 1000).limits.budget == 3


def test_certificates_that_cannot_be_used_say_why(tmp_path: Path, certificates: Path) -> None:
    def refused() -> EsbError:
        with pytest.raises(BadInput) as caught:
            server_context(tmp_path)
        return caught.value

    assert "gateway.crt cannot be read" in refused().fact
    (tmp_path / "gateway.crt").write_bytes((certificates / "gateway.crt").read_bytes())
    assert "gateway.key cannot be read" in refused().fact
    (tmp_path / "gateway.key").write_text("no key")
    assert "no usable pair" in refused().fact
    other = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True)
    (tmp_path / "gateway.key").write_bytes(other.stdout)
    assert "no usable pair" in refused().fact
    (tmp_path / "gateway.key").write_bytes((certificates / "gateway.key").read_bytes())
    assert server_context(tmp_path).minimum_version.name == "TLSv1_2"
