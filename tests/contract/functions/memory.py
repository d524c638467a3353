"""The memory driver's behaviours (``esb_node/drivers/memory.py``) as a real function.

So one suite names the same handlers for every driver. ``evaluate`` is only here: it lets a test
look around in a real worker.
"""

import ctypes
import os
import threading
from typing import Any


def echo(event: Any, context: object) -> Any:
    return event


def say(event: Any, context: object) -> Any:
    print(event["line"])
    return event


def environment(event: Any, context: object) -> Any:
    return dict(os.environ)


def fail(event: Any, context: object) -> Any:
    raise Exception(event)  # noqa: TRY002


def exit(event: Any, context: object) -> Any:  # noqa: A001
    os._exit(event["code"])


def crash(event: Any, context: object) -> Any:
    ctypes.string_at(0)


def hang(event: Any, context: object) -> Any:
    threading.Event().wait()


def exhaust(event: Any, context: object) -> Any:
    taken = []
    while True:
        taken.append(b"x" * (1 << 20))


def evaluate(event: Any, context: object) -> Any:
    return eval(event)


if os.environ["_HANDLER"] == "memory.late":
    threading.Event().wait()
