"""Which engine a person already has, found with a fake docker client."""

from __future__ import annotations

from pathlib import Path

import pytest
from esb_builder.engine import reach
from esb_builder.engine.place import Place
from esb_common.errors import NotPossibleHere


def place(tmp_path: Path, script: str, **environ: str) -> Place:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (programs / "docker").chmod(0o755)
    return Place(tmp_path / "root", tmp_path / "home", {"PATH": f"{programs}:/usr/bin:/bin", **environ})


NO_ANSWER = 'case "$1 $2" in "context show") echo default ;; *) echo "Cannot connect" >&2; exit 1 ;; esac'


def test_an_engine_that_answers_is_used_with_the_persons_own_settings(tmp_path: Path) -> None:
    found = reach.reachable(
        place(tmp_path, "echo 28.0.0", DOCKER_HOST="tcp://far:2376", DOCKER_TLS_VERIFY="1", TOKEN="x")
    )
    assert found is not None
    assert not found.ours
    assert found.environ["DOCKER_TLS_VERIFY"] == "1"
    assert found.address == "tcp://far:2376"
    assert "TOKEN" not in found.environ


def test_no_engine_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "USUAL_SOCKET", tmp_path / "none.sock")
    assert reach.reachable(place(tmp_path, NO_ANSWER)) is None


@pytest.mark.parametrize("name", ["DOCKER_HOST", "DOCKER_CONTEXT"])
def test_an_engine_that_was_named_is_never_replaced(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        NotPossibleHere, match=f"{name}=unix:///gone.* does not answer: Cannot connect"
    ) as caught:
        reach.reachable(place(tmp_path, NO_ANSWER, **{name: "unix:///gone"}))
    assert "--embedded" in caught.value.hint


def test_a_chosen_context_is_a_name_too(tmp_path: Path) -> None:
    script = NO_ANSWER.replace("echo default", "echo factory")
    with pytest.raises(NotPossibleHere, match="context 'factory'"):
        reach.reachable(place(tmp_path, script))


def test_our_own_socket_in_docker_host_is_not_a_foreign_engine(tmp_path: Path) -> None:
    assert (
        reach.reachable(place(tmp_path, "exit 1", DOCKER_HOST=f"unix://{tmp_path}/root/docker.sock")) is None
    )


@pytest.mark.parametrize(
    ("environ", "another"),
    [
        ({}, False),
        ({"DOCKER_HOST": "tcp://far"}, True),
        ({"DOCKER_CONTEXT": "factory"}, True),
        ({"DOCKER_HOST": ""}, False),
    ],
)
def test_what_the_environment_names_goes_before_ours(
    tmp_path: Path, environ: dict[str, str], another: bool
) -> None:
    assert reach.names_another(place(tmp_path, "exit 1", **environ)) is another


def test_our_own_socket_names_nothing_else(tmp_path: Path) -> None:
    assert not reach.names_another(
        place(tmp_path, "exit 1", DOCKER_HOST=f"unix://{tmp_path}/root/docker.sock")
    )


def test_without_a_client_a_named_engine_is_an_error(tmp_path: Path) -> None:
    empty = Place(tmp_path / "root", tmp_path / "home", {"PATH": str(tmp_path), "DOCKER_HOST": "tcp://far"})
    with pytest.raises(NotPossibleHere, match="no docker client"):
        reach.reachable(empty)
