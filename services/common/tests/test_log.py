import io
import json
import logging

import pytest
from esb_common import log


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setattr(logging, "root", logging.RootLogger(logging.WARNING))
    monkeypatch.setattr(logging.Logger, "manager", logging.Manager(logging.root))
    log.speak("info")
    return stream


def test_a_line_is_one_json_object_with_its_facts(lines: io.StringIO) -> None:
    log.Log("gateway").info("worker started", worker="w-1")
    line = json.loads(lines.getvalue())
    assert (line["program"], line["event"], line["worker"]) == ("gateway", "worker started", "w-1")
    assert line["time"].endswith("Z")


def test_debug_is_silent_at_info(lines: io.StringIO) -> None:
    log.Log("gateway").debug("noise")
    assert lines.getvalue() == ""


def test_a_trace_travels_in_the_line(lines: io.StringIO) -> None:
    try:
        int("why")
    except ValueError:
        log.Log("gateway").error("failed", trace=True)
    assert "ValueError: invalid literal" in json.loads(lines.getvalue())["trace"]
