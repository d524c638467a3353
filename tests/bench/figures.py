"""Warm and cold figures of the box, each as a ratio to a reference of the same run.

    .esb/test/bin/python tests/bench/figures.py [--modes A,B] [--calls N] [--starts N] [--json]

References
    warm  AWS's runtime client on a bare asyncio Runtime API: no client, no TLS, no checks, no sandbox
    cold  the same client as a bare subprocess, to its first ``GET /next``

The box is asked by one client over one kept TLS connection, at its public door. A cold start of the box is a
whole first invocation of a function that was just created: request, start, import, answer. What the driver
itself takes beside the same containerd calls made directly is measured by ``direct_containerd.py``.
Machines are noisy: read medians and ratios, run it several times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HOUSE / name) for name in ("builder/src", "services/common/src", "tests")]

from contract.runtime_api import RuntimeApi  # noqa: E402 - the path is set above
from e2e.box import Box, zipped  # noqa: E402

ECHO = "def handler(event, context):\n    return event\n"
ROLE = "arn:aws:iam::000000000000:role/lambda"
WARM_UP = 50
BODY = b'{"a": 1}'
KNOWN_S = 1.5
"""The gateway knows a new key within a second."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Milliseconds. ``rate`` is calls a second, one after the other."""

    warm_p50: float
    warm_p99: float
    rate: float
    cold_p50: float

    def over(self, reference: Figures) -> dict[str, float]:
        """Ratios to the reference; for the rate too, more is better there."""
        own, other = asdict(self), asdict(reference)
        return {name: own[name] / other[name] for name in own}


def milliseconds(times: list[float]) -> tuple[float, float]:
    """p50 and p99 of seconds."""
    ordered = sorted(times)
    return statistics.median(ordered) * 1e3, ordered[int(len(ordered) * 0.99)] * 1e3


async def reference(calls: int, starts: int) -> Figures:
    """AWS's client as a plain child of this process."""
    cold, times = [], []
    with function_folder() as folder:
        for number in range(starts):
            listener = socket.create_server(("127.0.0.1", 0))
            began = time.perf_counter()
            child = _bare_client(folder, listener.getsockname()[1])
            async with RuntimeApi(listener) as api:
                await api.ready()
                cold.append(time.perf_counter() - began)
                if number == starts - 1:
                    times = [await _timed(api) for _ in range(WARM_UP + calls)][WARM_UP:]
                child.kill()
                child.wait()
    p50, p99 = milliseconds(times)
    return Figures(p50, p99, len(times) / sum(times), milliseconds(cold)[0])


async def _timed(api: RuntimeApi) -> float:
    began = time.perf_counter()
    await api.invoke({"a": 1})
    return time.perf_counter() - began


@contextmanager
def function_folder() -> Iterator[str]:
    """A folder with the function, for the reference."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(ECHO)
        yield folder


def _bare_client(folder: str, port: int) -> subprocess.Popen[bytes]:
    environ = {
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "1",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "LAMBDA_TASK_ROOT": folder,
        "PYTHONPATH": str(HOUSE / ".esb/runtime"),
        "PATH": os.environ["PATH"],
    }
    return subprocess.Popen(
        [sys.executable, "-m", "awslambdaric", "app.handler"],
        cwd=folder,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


class Caller:
    """One TLS connection that is kept and an API key; as little client as HTTP/1.1 allows."""

    def __init__(self, box: Box) -> None:
        self._key = box.json("api-key", "add", "figures")["key"]
        time.sleep(KNOWN_S)
        trust = ssl.create_default_context(cafile=box.variables()["AWS_CA_BUNDLE"])
        plain = socket.create_connection(("127.0.0.1", box.port))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = trust.wrap_socket(plain, server_hostname="localhost")

    def invoke(self, name: str) -> float:
        """Seconds of one call, from the first byte sent to the last received."""
        began = time.perf_counter()
        answer = self._ask(name)
        took = time.perf_counter() - began
        assert answer.endswith(BODY), answer
        return took

    def _ask(self, name: str) -> bytes:
        head = f"POST /2015-03-31/functions/{name}/invocations HTTP/1.1\r\nHost: localhost\r\n"
        head += f"X-Api-Key: {self._key}\r\n"
        self._socket.sendall(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        return self._answer()

    def _answer(self) -> bytes:
        content = b""
        while b"\r\n\r\n" not in content:
            content += self._received()
        head, _, body = content.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while len(body) < int(lengths[0].partition(b":")[2]):
            body += self._received()
        return body

    def _received(self) -> bytes:
        part = self._socket.recv(65536)
        assert part, "the gateway closed the connection"
        return part


def measured(mode: str, calls: int, starts: int) -> Figures:
    """A box of its own, brought up for this and removed."""
    home = Path(os.environ.get("ESB_HOME", HOUSE / ".esb/home"))
    box = Box(mode, home if mode == "containerd" else Path(tempfile.mkdtemp(prefix="esb-bench-")))
    box.remove()
    box.esb("up")
    if any(key["name"] == "figures" for key in box.json("api-key", "list")["keys"]):
        box.esb("api-key", "remove", "figures")  # of a run that was broken off
    try:
        return _measure(box, calls, starts)
    finally:
        box.remove()


def _measure(box: Box, calls: int, starts: int) -> Figures:
    aws, caller = box.client(), Caller(box)

    def create(name: str) -> str:
        code = {"ZipFile": zipped(app=ECHO)}
        aws.create_function(
            FunctionName=name, Runtime="python3.12", Role=ROLE, Handler="app.handler", Code=code
        )
        return name

    cold = []
    for number in range(starts):
        name = create(f"cold-{number}")
        cold.append(caller.invoke(name))
        aws.delete_function(FunctionName=name)
    name = create("warm")
    times = [caller.invoke(name) for _ in range(WARM_UP + calls)][WARM_UP:]
    p50, p99 = milliseconds(times)
    return Figures(p50, p99, len(times) / sum(times), milliseconds(cold)[0])


def report(rows: dict[str, Figures], out: Callable[[str], None]) -> None:
    """A table for people, every row with its ratio to the first."""
    first = rows["reference"]
    out(f"{'':12}{'warm p50 ms':>18}{'warm p99 ms':>18}{'calls/s':>18}{'cold p50 ms':>18}")
    for name, row in rows.items():
        ratios = row.over(first)
        cells = [f"{value:9.2f} ({ratios[key]:5.2f}x)" for key, value in asdict(row).items()]
        out(f"{name:12}" + "".join(f"{cell:>18}" for cell in cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--modes", default="embedded,containerd")
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    chosen: Any = parser.parse_args()
    rows = {"reference": asyncio.run(reference(chosen.calls, chosen.starts))}
    for mode in chosen.modes.split(","):
        rows[mode] = measured(mode, chosen.calls, chosen.starts)
    if chosen.json:
        ratios = {name: row.over(rows["reference"]) for name, row in rows.items()}
        print(json.dumps({"figures": {name: asdict(row) for name, row in rows.items()}, "ratios": ratios}))
    else:
        report(rows, print)


if __name__ == "__main__":
    main()
