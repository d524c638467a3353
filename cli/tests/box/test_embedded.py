import os
from pathlib import Path

import pytest
from esb_cli.box import embedded
from esb_cli.box.layout import Layout, layout
from esb_cli.box.supervisor import Note
from esb_common.errors import BadInput, Misuse


def box(tmp_path: Path, **environ: str) -> Layout:
    return layout({"ESB_HOME": str(tmp_path / "home"), **environ}, embedded=True)


@pytest.fixture
def interpreters(tmp_path: Path) -> embedded.Interpreters:
    for name in ("gateway", "node"):
        (tmp_path / name / "bin").mkdir(parents=True)
        (tmp_path / name / "bin/python").symlink_to(tmp_path / "prefix/bin/python3.12")
    (tmp_path / "prefix/bin").mkdir(parents=True)
    (tmp_path / "prefix/bin/python3.12").touch()
    (tmp_path / "runtime").mkdir()
    return embedded.Interpreters(tmp_path / "gateway", tmp_path / "node", tmp_path / "runtime")


def test_the_node_starts_before_the_gateway(tmp_path: Path, interpreters: embedded.Interpreters) -> None:
    programs = embedded.plan(box(tmp_path), interpreters, {})
    assert [program.name for program in programs] == ["node", "gateway"]


def test_a_program_gets_settings_and_nothing_else_of_the_environment(
    tmp_path: Path, interpreters: embedded.Interpreters
) -> None:
    environ = {"ESB_MAX_WORKERS": "3", "AWS_SECRET_ACCESS_KEY": "s3cret", "PYTHONHOME": "/x"}
    for program in embedded.plan(box(tmp_path), interpreters, environ):
        assert program.environment["ESB_MAX_WORKERS"] == "3"
        assert not {"AWS_SECRET_ACCESS_KEY", "PYTHONHOME"} & set(program.environment)


def test_the_gateway_sees_its_own_and_writes_only_state(
    tmp_path: Path, interpreters: embedded.Interpreters
) -> None:
    place = box(tmp_path)
    seen = embedded.view(place, interpreters)
    binds = seen["binds"]
    assert isinstance(binds, list)
    assert {bind["at"] for bind in binds if bind["writable"]} == {
        str(place.box / "data"),
        str(place.box / "run"),
    }
    assert str(tmp_path / "prefix") in {bind["at"] for bind in binds}
    assert str(place.home / "ca") not in {bind["at"] for bind in binds}


def test_the_mark_changes_with_a_setting_and_with_a_certificate(
    tmp_path: Path, interpreters: embedded.Interpreters
) -> None:
    place = box(tmp_path)
    place.certificates.mkdir(parents=True)

    def mark(**environ: str) -> str:
        programs = embedded.plan(box(tmp_path, **environ), interpreters, environ)
        return embedded.fingerprint(programs, interpreters, place.certificates)

    first = mark()
    assert mark() == first
    assert mark(ESB_PORT="9000") != first
    (place.certificates / "gateway.crt").write_text("new")
    assert mark() != first


def test_no_supervisor_is_believed_by_its_number_alone(tmp_path: Path) -> None:
    place = box(tmp_path)
    place.box.mkdir(parents=True)
    Note(os.getpid(), "1", "x", {"gateway": 1}).write(place.box / "running.json")
    assert embedded.running(place) is None
    assert embedded.programs(place) == {}
    assert not embedded.stop(place)


def test_stopping_with_volumes_removes_the_state(tmp_path: Path) -> None:
    place = box(tmp_path)
    (place.box / "data").mkdir(parents=True)
    embedded.stop(place, volumes=True)
    assert not place.box.exists()


def test_no_isolation_outside_the_embedded_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="--no-isolation is for the embedded mode"):
        layout({"ESB_HOME": str(tmp_path)}, no_isolation=True)


def test_the_box_remembers_its_mode(tmp_path: Path) -> None:
    place = box(tmp_path)
    assert place.started_mode() is None
    place.remember("embedded")
    assert place.started_mode() == "embedded"
    place.forget()
    assert place.started_mode() is None


def test_sources_that_the_gateways_user_cannot_read_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir(mode=0o755)
    (tmp_path / "src/app.py").touch(0o644)
    (tmp_path / "src/__pycache__").mkdir(mode=0o700)
    embedded.refuse_unreadable([tmp_path / "src"])
    (tmp_path / "src/app.py").chmod(0o600)
    with pytest.raises(BadInput, match=r"app\.py is readable by its owner only"):
        embedded.refuse_unreadable([tmp_path / "src"])
