"""First program of a Python worker: output where it belongs, then AWS's own runtime client.

Starts as ``/var/lang/bin/python3.12 /var/runtime/bootstrap.py``; the handler is in ``_HANDLER``.
Where the box could not give it its output as descriptors 1 and 2 (containers), ``_ESB_OUTPUT``
names a pipe; the function never sees that variable. Imports nothing but what every interpreter
has loaded already, since each millisecond here is one of a cold start.
"""

import os
import sys


def _take_output() -> None:
    path = os.environ.pop("_ESB_OUTPUT", None)
    if path is not None:
        output = os.open(path, os.O_WRONLY)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
    # A pipe's output would wait in blocks. AWS's client later flushes each write; until then, and for whoever
    # kept the old stream, whole lines go out at once, also if the process dies right after.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _see_as_on_aws() -> None:
    """The code comes first on the path; this program's own folder is there through PYTHONPATH."""
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]


def main() -> None:
    """Serve invocations until the Runtime API goes away."""
    _take_output()
    _see_as_on_aws()
    from awslambdaric.__main__ import main as serve

    serve(["bootstrap", os.environ["_HANDLER"]])


if __name__ == "__main__":
    main()
