"""The box's own pages."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from callers import signed


def test_health_follows_the_node(make_box: Any) -> None:
    box = make_box(node=False)
    with pytest.raises(urllib.error.HTTPError) as caught:
        box.get("/_esb/health")
    assert caught.value.code == 503
    assert json.loads(caught.value.read())["reason"] == "the runtime node is not connected"
    box.run(box.node.open())
    box.create()
    box.client().invoke(FunctionName="f")
    assert json.loads(box.get("/_esb/health")) == {"status": "ok"}


def test_status_shows_node_limits_and_workers_but_no_environment(box: Any) -> None:
    box.create(Environment={"Variables": {"SECRET": "hunter2"}})
    box.client().invoke(FunctionName="f")
    status = box.status()
    assert status["mode"] == "embedded"
    assert status["node"]["driver"] == "memory"
    assert status["functions"] == 1
    assert status["capacity"] == {"unit": "MiB", "total": 4096, "used": 128}
    (worker,) = status["workers"]
    assert worker["function"] == "f"
    assert worker["state"] in ("idle", "away")
    assert worker["place"].startswith("coroutine w-")
    assert worker["peak_memory_bytes"] == 34603008
    assert "hunter2" not in json.dumps(status)
    assert b"hunter2" not in box.get("/_esb/logs/f")


def test_logs_show_platform_and_function_lines(box: Any) -> None:
    box.create(handler="app.speaks")
    box.client().invoke(FunctionName="f", Payload=b"1")
    lines = [line.split(" ", 1)[1] for line in box.get("/_esb/logs/f?tail=10").decode().splitlines()]
    assert [line.split(" ")[0] for line in lines] == ["START", "got", "bye", "END", "REPORT"]
    assert box.get("/_esb/logs/f?tail=1").count(b"\n") == 1


def test_logs_are_followed_live(box: Any) -> None:
    box.create(handler="app.speaks")
    client = box.client()
    client.invoke(FunctionName="f", Payload=b"1")
    with box.open("/_esb/logs/f?tail=1&follow=1") as stream:
        assert b" REPORT RequestId: " in stream.readline()
        client.invoke(FunctionName="f", Payload=b"2")
        assert b" START RequestId: " in stream.readline()
        assert stream.readline().endswith(b" got 2\n")
        box.stop_gateway()
        assert stream.read().count(b"REPORT") == 1
    box.up(node=False)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/_esb/logs/nobody", 404),
        ("/_esb/logs/f?tail=x", 400),
        ("/_esb/logs/f?tail=99999999", 400),
        ("/_esb/logs/f?follow=2", 400),
        ("/_esb/logs/f?" + "&".join(f"a{number}=1" for number in range(50)), 400),
        ("/_esb/logs/f?lines=1", 400),
        ("/_esb/logs/..%2f..%2fstate", 404),
        ("/_esb/nothing", 404),
        ("/_esb/code/" + "0" * 64, 403),
        ("/_esb/code/" + "0" * 64 + "?expires=x&signature=y", 403),
    ],
)
def test_what_there_is_not_is_refused(box: Any, path: str, status: int) -> None:
    box.create()
    with pytest.raises(urllib.error.HTTPError) as caught:
        box.get(path)
    assert caught.value.code == status


def test_only_get_is_known(box: Any) -> None:
    url = f"https://localhost:{box.port}/_esb/status"
    request = urllib.request.Request(url, method="POST", headers=signed(url, "POST"))
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, context=box.tls(), timeout=20)
    assert caught.value.code == 405
