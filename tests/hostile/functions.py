"""Bad functions: code that does not load, ends, hangs, or talks nonsense to the box."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from typing import Any

from e2e.box import zipped
from hostile.caller import FUNCTIONS, Caller, Reply
from hostile.kind import Kind
from hostile.requests import GOOD

NUMBERS = itertools.count()
CALL = """
import http.client, os

def call(method, path, body=b"", headers={}):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"], timeout=5)
    connection.request(method, "/2018-06-01/runtime/" + path, body, headers)
    return connection.getresponse().status
"""


def run(
    code: str, *, event: bytes = b"{}", handler: str = "app.handler", **members: Any
) -> Callable[[Caller], Reply]:
    """Make the function, call it, delete it."""

    def send(caller: Caller) -> Reply:
        name = f"hostile-{next(NUMBERS)}"
        package = {"ZipFile": base64.b64encode(zipped(app=code)).decode()}
        settings = {
            "FunctionName": name,
            "Handler": handler,
            "Code": package,
            "Timeout": 3,
            "MemorySize": 128,
        }
        made = caller.json("POST", FUNCTIONS, GOOD | settings | members)
        assert made.status == 201, made.body
        try:
            return caller.signed("POST", f"{FUNCTIONS}/{name}/invocations", event)
        finally:
            caller.delete(name)

    return send


def handler(*lines: str, before: str = "") -> Callable[[Caller], Reply]:
    body = "\n    ".join(lines)
    return run(f"{before}\nimport os, sys\ndef handler(event, context):\n    {body}\n")


KINDS = (
    Kind("code that does not import", "200 Runtime.ImportModuleError", run("import nothing_of_that_name\n")),
    Kind("code with a syntax error", "200 Runtime.UserCodeSyntaxError", run("def handler(event, context:\n")),
    Kind("code that is not text", "200 Runtime.UserCodeSyntaxError", run("\0\0\0\0")),
    Kind("a handler that is not there", "200 Runtime.HandlerNotFound", run("x = 1\n", handler="app.missing")),
    Kind("a handler that is a number", "200 TypeError", run("handler = 5\n")),
    Kind(
        "a handler in no module", "200 Runtime.ImportModuleError", run("x = 1\n", handler="nowhere.handler")
    ),
    Kind("code that ends while it loads", "200 Runtime.ExitError", run("import os\nos._exit(3)\n")),
    Kind(
        "code that hangs while it loads",
        "200 Sandbox.Timedout",
        run("import threading\nthreading.Event().wait()\n"),
        slow=True,
    ),
    Kind("a handler that exits", "200 Runtime.ExitError", handler("os._exit(3)")),
    Kind("a handler that raises SystemExit", "200 Runtime.ExitError", handler("raise SystemExit(3)")),
    Kind("a handler that kills itself", "200 null", handler("os.kill(os.getpid(), 9)")),
    Kind(
        "a handler that kills everything it sees",
        "200 ProcessLookupError",
        handler("os.kill(-1, 9)", "os.kill(1, 9)", "os._exit(1)"),
    ),
    Kind(
        "a handler that breaks its memory",
        "200 Runtime.ExitError",
        handler("import ctypes; ctypes.string_at(0)"),
    ),
    Kind(
        "a handler that calls itself for ever",
        "200 RecursionError",
        handler("return handler(event, context)"),
    ),
    Kind(
        "a handler that hangs", "200 Sandbox.Timedout", handler("import threading; threading.Event().wait()")
    ),
    Kind(
        "a handler that will not end when told",
        "200 Sandbox.Timedout",
        handler("import signal, threading; signal.signal(15, signal.SIG_IGN); threading.Event().wait()"),
    ),
    Kind(
        "a handler that takes all memory",
        "200 Runtime.OutOfMemory",
        handler("return len(bytearray(600 << 20))"),
    ),
    Kind("an answer of 7 MB", "200 Function.ResponseSizeTooLarge", handler("return 'x' * 7_000_000")),
    Kind("an answer that is no JSON", "200 Runtime.MarshalError", handler("return object()")),
    Kind("an answer that holds itself", "200 Runtime.MarshalError", handler("a = []; a.append(a); return a")),
    Kind("an answer with half a letter", "200 Runtime.ExitError", handler("return '\\ud800'")),
    Kind("an error of 100 KB", "200 ValueError", handler("raise ValueError('x' * 100_000)")),
    Kind("an error of 1 MB", "200 ValueError", handler("raise ValueError('x' * 1_000_000)")),
    Kind(
        "an error that cannot be shown",
        "200 Runtime.ExitError",
        handler("class Odd(Exception):", "    def __str__(self): raise RuntimeError", "raise Odd"),
    ),
    Kind(
        "20 MB of output that is no text",
        "200 1",
        handler("[os.write(1, bytes(range(256)) * 4096) for _ in range(20)]", "return 1"),
    ),
    Kind("a line of 10 MB", "200 1", handler("os.write(1, b'x' * 10_000_000)", "return 1")),
    Kind("a handler that closes its output", "200 1", handler("os.close(1); os.close(2)", "return 1")),
    Kind("a handler that closes all descriptors", "200 1", handler("os.closerange(0, 100)", "return 1")),
    Kind(
        "a result for a call that there is not",
        "200 400",
        handler("return call('POST', 'invocation/x/response')", before=CALL),
    ),
    Kind(
        "a result twice",
        "200 1",
        handler(
            "call('POST', f'invocation/{context.aws_request_id}/response', b'1')", "return 2", before=CALL
        ),
    ),
    Kind(
        "a second poll while one runs",
        "200 403",
        handler("return call('GET', 'invocation/next')", before=CALL),
    ),
    Kind(
        "a path that the Runtime API has not",
        "200 404",
        handler("return call('GET', '../../etc/passwd')", before=CALL),
    ),
    Kind(
        "an init error while a call runs",
        "200 403",
        handler("return call('POST', 'init/error', b'{}')", before=CALL),
    ),
)
