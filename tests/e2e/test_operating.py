"""The box as its owner handles it: status, logs, environment, restarts, up and down."""

import json
import os
import select
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from e2e.box import PROJECT, ROOT, WAIT_S, Box
from e2e.conftest import Functions
from e2e.test_invoke import call
from esb_builder import engine
from esb_builder.voice import Recorded

pytestmark = pytest.mark.box


def test_status_says_what_runs(box: Box, aws: Any) -> None:
    call(aws, "hello")
    status = box.json("status")
    assert status["mode"] == box.mode
    hello = next(worker for worker in status["workers"] if worker["function"] == "hello")
    assert hello["place"]
    if box.mode == "containerd":
        wanted = {"esb-os-base", "esb-python-base", "esb-gateway", "esb-runtime-node", "esb-lambda-python"}
        assert set(status["images"]) == wanted
        assert all(image.startswith("sha256:") for image in status["images"].values())
        assert (status["node"]["isolation"], status["node"]["network"]) == ("containers", "all")
    else:
        assert (status["node"]["isolation"], status["node"]["network"]) == ("namespaces", "loopback")


def test_up_again_changes_nothing(box: Box) -> None:
    before = {worker["id"] for worker in box.json("status")["workers"]}
    answer = box.json("up")
    assert answer["answer"]["message"] == "Hello, world!"
    assert before <= {worker["id"] for worker in box.json("status")["workers"]}


def test_the_aws_command_line_works_from_the_environment_that_esb_prints(box: Box, tmp_path: Path) -> None:
    script = (
        f'eval "$({ROOT / "esb"} env)"; '
        f"{Path(sys.executable).parent / 'aws'} lambda invoke --function-name hello "
        f'--payload \'{{"name": "CLI"}}\' {tmp_path / "out.json"}'
    )
    environ = {name: value for name, value in box.environ.items() if "CA_BUNDLE" not in name}
    done = subprocess.run(["sh", "-c", script], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["StatusCode"] == 200
    assert json.loads((tmp_path / "out.json").read_text())["message"] == "Hello, CLI!"


def test_only_the_root_certificate_is_trusted_and_it_suffices(box: Box) -> None:
    url = box.variables()["AWS_ENDPOINT_URL"] + "/_esb/health"
    root = box.home / "certs/rootCA.crt"
    with urllib.request.urlopen(url, context=ssl.create_default_context(cafile=str(root))) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(url, context=ssl.create_default_context())


@pytest.mark.parametrize("listener", ["port", "http_port"])
def test_the_api_listens_on_loopback_only(box: Box, listener: str) -> None:
    lines = Path("/proc/net/tcp").read_text().splitlines() + Path("/proc/net/tcp6").read_text().splitlines()
    local = [line.split()[1].rpartition(":") for line in lines[1:] if line.split()[3:4] == ["0A"]]
    addresses = {address for address, _, port in local if int(port, 16) == getattr(box, listener)}
    assert addresses == {"0100007F"}


def test_invoke_prints_the_answer_and_fails_with_the_function(box: Box, functions: Functions) -> None:
    name = functions.create("def handler(event, context):\n    return event['give']\n")
    assert json.loads(box.esb("invoke", name, "--payload", '{"give": [1]}')) == [1]
    box.esb("invoke", name, "--payload", "{}", code=1)
    box.esb("invoke", "none", code=1)


@contextmanager
def following(box: Box, name: str) -> Iterator[Any]:
    """`./esb logs -f`, as a function that waits for a line with a given text."""
    with subprocess.Popen(
        [ROOT / "esb", "logs", "-f", name], env=box.environ, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        stream = process.stdout.fileno()
        seen = b""

        def await_text(text: str) -> None:
            nonlocal seen
            while text.encode() not in seen:
                ready, _, _ = select.select([stream], [], [], WAIT_S)
                assert ready, f"{text!r} did not come; seen: {seen.decode()}"
                seen += os.read(stream, 65536)

        try:
            yield await_text
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 130
        finally:
            process.kill()


def test_logs_are_live(box: Box, aws: Any, functions: Functions) -> None:
    name = functions.create("def handler(event, context):\n    print('said', event)\n")
    call(aws, name, "before")
    with following(box, name) as await_text:
        await_text("said before")
        call(aws, name, "after")
        await_text("said after")
        await_text("REPORT RequestId: ")
    assert "said after" in box.esb("logs", name)


def kill_program(box: Box, name: str) -> None:
    """`kill -9` of the gateway or the node, by the process id that the box itself reports."""
    os.kill(box.json("status")["programs"][name]["pid"], signal.SIGKILL)


@pytest.mark.parametrize("name", ["gateway", "node"])
def test_functions_survive_a_killed_program(box: Box, functions: Functions, name: str) -> None:
    aws = box.client()
    kept = functions.create("def handler(event, context):\n    return 'kept'\n")
    assert call(aws, kept) == "kept"
    kill_program(box, name)
    box.esb("up")
    assert call(box.client(), kept) == "kept"
    assert all(worker["place"] for worker in box.json("status")["workers"])


def test_the_gateway_is_not_root(box: Box) -> None:
    pid = box.json("status")["programs"]["gateway"]["pid"]
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    assert lines["Uid"].split() == [str(os.getuid() or 10001)] * 4
    assert int(lines["CapEff"], 16) == 0
    assert int(lines["CapPrm"], 16) == 0


def test_another_mode_is_refused_while_the_box_runs(box: Box) -> None:
    other = {"embedded": "containerd", "containerd": "embedded"}[box.mode]
    done = subprocess.run(
        [ROOT / "esb", "up"],
        env=box.environ | {"ESB_MODE": other},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert f"the box runs in {box.mode} mode" in done.stderr
    assert "./esb down" in done.stderr


def test_functions_outlive_a_box_that_is_down(box: Box, functions: Functions) -> None:
    kept = functions.create("def handler(event, context):\n    return 'kept'\n")
    box.esb("down")
    box.esb("status", code=4)
    assert not box.json("down")["stopped"]
    box.esb("up")
    assert call(box.client(), kept) == "kept"


def traces(box: Box) -> list[str]:
    """What of a box is still here: processes, and containers, volumes and networks of its project."""
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()]
    found = [line.decode() for line in commands if str(box.home).encode() in line and b"pytest" not in line]
    if box.mode == "embedded":
        return found + [str(path) for path in [box.home / "box"] if path.exists()]
    engine_now = engine.ensure(engine.Place.from_environ(box.environ), Recorded())
    ours = f"--filter=label=com.docker.compose.project={PROJECT}"
    for kind in ("ps", "volume", "network"):
        listing = ("ps", "--all", "--quiet") if kind == "ps" else (kind, "ls", "--quiet")
        found += engine_now.docker(*listing, ours).stdout.split()
    return found


def test_down_with_volumes_leaves_nothing_even_after_a_plain_down(box: Box) -> None:
    box.esb("down")
    box.esb("down", "--volumes")
    assert traces(box) == []
    box.esb("up")
